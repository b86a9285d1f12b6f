//! Server frames: unmasked, never fragmented, never compressed.
//! A data frame holds one item or one array of items, as the connection's form wants it.

use bytes::{BufMut, Bytes, BytesMut};

use super::settings::Form;

/// Opcodes the server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Text,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    const fn bits(self) -> u8 {
        match self {
            Self::Text => 0x1,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }
}

/// Appends a frame whose payload is `pieces`, one after the other.
pub(super) fn push(buf: &mut BytesMut, opcode: Opcode, pieces: &[&[u8]]) {
    let length: usize = pieces.iter().map(|piece| piece.len()).sum();
    buf.reserve(length + 10);
    buf.put_u8(0x80 | opcode.bits());
    if length < 126 {
        buf.put_u8(length as u8);
    } else if let Ok(short) = u16::try_from(length) {
        buf.put_u8(126);
        buf.put_u16(short);
    } else {
        buf.put_u8(127);
        buf.put_u64(length as u64);
    }
    for piece in pieces {
        buf.put_slice(piece);
    }
}

/// Appends a text frame with one item (or array) of `stream`, given in pieces.
pub(super) fn push_item(buf: &mut BytesMut, form: Form, stream: &str, pieces: &[&[u8]]) {
    match form {
        Form::Raw => push(buf, Opcode::Text, pieces),
        Form::Wrapped => {
            let mut all: Vec<&[u8]> = Vec::with_capacity(pieces.len() + 4);
            all.extend_from_slice(&[br#"{"stream":""#, stream.as_bytes(), br#"","data":"#]);
            all.extend_from_slice(pieces);
            all.push(b"}");
            push(buf, Opcode::Text, &all);
        }
    }
}

/// A text frame.
pub(super) fn text(payload: &[u8]) -> Bytes {
    single(Opcode::Text, payload)
}

/// A frame of its own.
pub(super) fn single(opcode: Opcode, payload: &[u8]) -> Bytes {
    let mut buf = BytesMut::new();
    push(&mut buf, opcode, &[payload]);
    buf.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_in_their_shortest_form() {
        for (length, head) in [
            (0_usize, vec![0x81, 0]),
            (125, vec![0x81, 125]),
            (126, vec![0x81, 126, 0, 126]),
            (65_535, vec![0x81, 126, 0xff, 0xff]),
            (65_536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let frame = text(&vec![b'x'; length]);
            assert_eq!(frame[..head.len()], head[..], "{length}");
            assert_eq!(frame.len(), head.len() + length);
        }
    }

    #[test]
    fn a_wrapped_item_names_its_stream_and_a_raw_one_is_bare() {
        let frame = |form| {
            let mut buf = BytesMut::new();
            push_item(&mut buf, form, "!status", &[b"{", b"}"]);
            buf[2..].to_vec()
        };
        assert_eq!(frame(Form::Raw), b"{}");
        assert_eq!(frame(Form::Wrapped), br#"{"stream":"!status","data":{}}"#);
    }
}
