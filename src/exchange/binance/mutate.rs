//! Bodies with a few bytes changed, the same ones at every run: what readers of wire text are tried on.

/// `count` mutations of `text`.
pub(super) fn mutations(text: &str, count: usize) -> impl Iterator<Item = Vec<u8>> {
    const BYTES: &[u8] = b"0129-.\"{}[],:eE\\ x\xff\n";
    let mut rng = fastrand::Rng::with_seed(32);
    std::iter::repeat_n(text.as_bytes(), count).map(move |text| {
        let mut bytes = text.to_vec();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..bytes.len().max(1));
            let byte = BYTES[rng.usize(..BYTES.len())];
            match rng.u8(..8) {
                0..4 if at < bytes.len() => bytes[at] = byte,
                4 | 5 if at < bytes.len() => drop(bytes.remove(at)),
                6 => bytes.truncate(at),
                _ => bytes.insert(at, byte),
            }
        }
        bytes
    })
}
