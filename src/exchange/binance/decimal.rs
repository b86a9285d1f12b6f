//! The exchange's numbers: decimal text, read to a double once and only if it is nothing else. Rust reads `inf`, `nan`
//! and `1e5` as numbers too; an exchange that sends them has gone wrong, and a price must not.

/// The number `text` writes with digits, at most one point, and `-` in front if below 0.
pub(super) fn decimal(text: &str) -> Option<f64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits.len() <= 64
        && digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_decimals_are_numbers() {
        for (text, value) in [
            ("83070.80", 83_070.8),
            ("0.00000001", 1e-8),
            ("0", 0.0),
            ("-1.25", -1.25),
        ] {
            assert_eq!(decimal(text), Some(value), "{text}");
        }
        for text in [
            "", "-", ".5", "inf", "NaN", "1e5", "+1", "1.2.3", " 1", "1_000", "0x1",
        ] {
            assert_eq!(decimal(text), None, "{text}");
        }
    }
}
