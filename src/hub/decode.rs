//! Client frames: parsed as they come in, joined to messages, every rule of RFC 6455 and every limit checked at the
//! earliest byte that shows the breach. Holds no buffer while nothing is under way: idle connections cost nothing.

use bytes::{Buf, Bytes, BytesMut};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::close::CloseReason;
use super::settings::Limits;

/// What a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Received {
    Text(String),
    Ping(Bytes),
    Pong,
    /// With its code, if it had one.
    Close(Option<u16>),
}

#[derive(Debug)]
struct Partial {
    text: Vec<u8>,
    fragments: usize,
}

/// The parser of one connection.
#[derive(Debug)]
pub(super) struct Decoder {
    max_bytes: usize,
    max_fragments: usize,
    input: BytesMut,
    partial: Option<Partial>,
}

#[derive(Debug, Clone, Copy)]
struct Head {
    fin: bool,
    opcode: u8,
    head_bytes: usize,
    length: usize,
    mask: [u8; 4],
}

impl Decoder {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            max_bytes: limits.message_bytes,
            max_fragments: limits.fragments,
            input: BytesMut::new(),
            partial: None,
        }
    }

    /// Adds bytes from the socket.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// Whether a message has begun and not ended.
    pub(super) fn is_under_way(&self) -> bool {
        self.partial.is_some() || !self.input.is_empty()
    }

    /// Whether some fragments of a message are there and its last is not.
    pub(super) fn is_in_message(&self) -> bool {
        self.partial.is_some()
    }

    /// The next message or control frame, none when more bytes are needed.
    pub(super) fn next(&mut self) -> Result<Option<Received>, CloseReason> {
        loop {
            let Some(head) = self.head()? else {
                return Ok(None);
            };
            if self.input.len() < head.head_bytes + head.length {
                return Ok(None);
            }
            self.input.advance(head.head_bytes);
            let mut payload = self.input.split_to(head.length);
            if self.input.is_empty() {
                self.input = BytesMut::new();
            }
            for (byte, mask) in payload.iter_mut().zip(head.mask.iter().cycle()) {
                *byte ^= mask;
            }
            if let Some(received) = self.take(head, &payload)? {
                return Ok(Some(received));
            }
        }
    }

    /// The next frame's head, once all of it is there and allowed.
    fn head(&self) -> Result<Option<Head>, CloseReason> {
        let [first, second, rest @ ..] = &self.input[..] else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(CloseReason::Protocol("reserved bit set"));
        }
        if second & 0x80 == 0 {
            return Err(CloseReason::Protocol("frame is not masked"));
        }
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
        let short = usize::from(second & 0x7f);
        self.check_opcode(fin, opcode, short)?;
        let (length, length_bytes) = match short {
            126 => match rest {
                [a, b, ..] => (u64::from(u16::from_be_bytes([*a, *b])), 2),
                _ => return Ok(None),
            },
            127 => match rest.first_chunk::<8>() {
                Some(bytes) => (u64::from_be_bytes(*bytes), 8),
                None => return Ok(None),
            },
            _ => (short as u64, 0),
        };
        let so_far = self
            .partial
            .as_ref()
            .map_or(0, |partial| partial.text.len());
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if opcode < 8 && so_far.saturating_add(length) > self.max_bytes {
            return Err(CloseReason::TooBig(self.max_bytes));
        }
        let Some(mask) = rest
            .get(length_bytes..)
            .and_then(|rest| rest.first_chunk::<4>())
        else {
            return Ok(None);
        };
        Ok(Some(Head {
            fin,
            opcode,
            head_bytes: 2 + length_bytes + 4,
            length,
            mask: *mask,
        }))
    }

    fn check_opcode(&self, fin: bool, opcode: u8, short: usize) -> Result<(), CloseReason> {
        match opcode {
            0 => match &self.partial {
                None => Err(CloseReason::Protocol("continuation of nothing")),
                Some(partial) if partial.fragments == self.max_fragments => Err(CloseReason::Rule(
                    format!("more than {} fragments in a message", self.max_fragments),
                )),
                Some(_) => Ok(()),
            },
            1 if self.partial.is_some() => {
                Err(CloseReason::Protocol("new message inside a fragmented one"))
            }
            2 => Err(CloseReason::Binary),
            8..=10 if !fin => Err(CloseReason::Protocol("fragmented control frame")),
            8..=10 if short > 125 => Err(CloseReason::Protocol("control frame above 125 bytes")),
            1 | 8..=10 => Ok(()),
            _ => Err(CloseReason::Protocol("unknown opcode")),
        }
    }

    fn take(&mut self, head: Head, payload: &[u8]) -> Result<Option<Received>, CloseReason> {
        match head.opcode {
            8 => close_code(payload).map(|code| Some(Received::Close(code))),
            9 => Ok(Some(Received::Ping(Bytes::copy_from_slice(payload)))),
            10 => Ok(Some(Received::Pong)),
            _ => {
                let mut partial = self.partial.take().unwrap_or(Partial {
                    text: Vec::new(),
                    fragments: 0,
                });
                partial.fragments += 1;
                partial.text.extend_from_slice(payload);
                if !head.fin {
                    self.partial = Some(partial);
                    return Ok(None);
                }
                String::from_utf8(partial.text)
                    .map(|text| Some(Received::Text(text)))
                    .map_err(|_| CloseReason::NotUtf8)
            }
        }
    }
}

fn close_code(payload: &[u8]) -> Result<Option<u16>, CloseReason> {
    match payload {
        [] => Ok(None),
        [_] => Err(CloseReason::Protocol("close frame of one byte")),
        [a, b, reason @ ..] => {
            let code = u16::from_be_bytes([*a, *b]);
            if !CloseCode::from(code).is_allowed() {
                return Err(CloseReason::Protocol("close code that may not be sent"));
            }
            if std::str::from_utf8(reason).is_err() {
                return Err(CloseReason::NotUtf8);
            }
            Ok(Some(code))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            short @ ..126 => frame.push(0x80 | short as u8),
            medium @ 126..=0xffff => {
                frame.push(0x80 | 126);
                frame.extend((medium as u16).to_be_bytes());
            }
            long => {
                frame.push(0x80 | 127);
                frame.extend((long as u64).to_be_bytes());
            }
        }
        frame.extend(MASK);
        frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(b, m)| b ^ m));
        frame
    }

    fn decode(bytes: &[u8]) -> Result<Vec<Received>, CloseReason> {
        let mut decoder = Decoder::new(&Limits::default());
        decoder.feed(bytes);
        let mut all = Vec::new();
        while let Some(received) = decoder.next()? {
            all.push(received);
        }
        Ok(all)
    }

    #[test]
    fn messages_come_out_whole_however_the_bytes_are_cut() {
        let mut bytes = frame(0x81, b"{\"id\":1}");
        bytes.extend(frame(0x01, b"ab"));
        bytes.extend(frame(0x89, b"hi"));
        bytes.extend(frame(0x80, b"cd"));
        bytes.extend(frame(0x81, &[b'x'; 70].repeat(10)));
        bytes.extend(frame(0x8a, b""));
        bytes.extend(frame(0x88, &[0x03, 0xe8]));
        let whole = decode(&bytes).unwrap();
        assert_eq!(whole[1], Received::Ping(Bytes::from_static(b"hi")));
        assert_eq!(whole[2], Received::Text("abcd".into()));
        assert_eq!(whole[5], Received::Close(Some(1000)));
        let mut decoder = Decoder::new(&Limits::default());
        let mut cut = Vec::new();
        for byte in bytes {
            decoder.feed(&[byte]);
            while let Some(received) = decoder.next().unwrap() {
                cut.push(received);
            }
        }
        assert_eq!(cut, whole);
        assert!(!decoder.is_under_way());
    }

    #[test]
    fn every_breach_has_its_close_code() {
        let code = |bytes: &[u8]| decode(bytes).unwrap_err().code().unwrap();
        assert_eq!(code(&[0x81, 0x01, b'x']), 1002, "not masked");
        assert_eq!(code(&frame(0xc1, b"x")), 1002, "reserved bit");
        assert_eq!(code(&frame(0x83, b"x")), 1002, "opcode");
        assert_eq!(code(&frame(0x8b, b"")), 1002, "control opcode");
        assert_eq!(code(&frame(0x09, b"")), 1002, "fragmented control frame");
        assert_eq!(
            code(&frame(0x89, &[0; 126])),
            1002,
            "oversized control frame"
        );
        assert_eq!(code(&frame(0x80, b"x")), 1002, "continuation of nothing");
        assert_eq!(code(&[frame(0x01, b"x"), frame(0x81, b"y")].concat()), 1002);
        assert_eq!(code(&frame(0x88, &[3])), 1002, "half a close code");
        assert_eq!(code(&frame(0x88, &1005_u16.to_be_bytes())), 1002);
        assert_eq!(code(&frame(0x88, &[3, 0xe8, 0xff])), 1007, "close reason");
        assert_eq!(code(&frame(0x82, b"x")), 1003, "binary");
        assert_eq!(code(&frame(0x81, &[0xff])), 1007, "not UTF-8");
        assert_eq!(code(&frame(0x81, &vec![b'x'; 65_537])), 1009);
        assert_eq!(
            code(&[0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 1]),
            1009,
            "by its head alone"
        );
        let fragments = [frame(0x01, b"x"), frame(0x00, b"x").repeat(16)].concat();
        assert_eq!(code(&fragments), 1008);
        let halves = [frame(0x01, &[b'x'; 40_000]), frame(0x80, &[b'x'; 40_000])];
        assert_eq!(code(&halves.concat()), 1009, "joined");
        assert_eq!(decode(&frame(0x81, &vec![b'x'; 65_536])).unwrap().len(), 1);
    }

    #[test]
    fn no_bytes_make_the_parser_panic() {
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let mut bytes = frame(0x81, b"{\"method\":\"PING\",\"id\":1}");
            for _ in 0..rng.usize(1..6) {
                let at = rng.usize(..bytes.len());
                bytes[at] = rng.u8(..);
            }
            bytes.truncate(rng.usize(..=bytes.len()));
            let _ = decode(&bytes);
        }
    }
}
