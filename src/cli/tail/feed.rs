//! What the feed says, message by message, and the cursor: the pair of epoch and number behind which a new connection
//! goes on. Kinds of items and fields it does not know are passed over, as the contract of the feed asks of a client.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A place in the numbering.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    pub(super) epoch: String,
    pub(super) seq: u64,
}

/// One thing heard.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// An item to print, unchanged: a signal, a correction.
    Change(String),
    /// The numbering is new: the item unchanged, and words for a person.
    Reset(String, String),
    /// Something a person should know.
    Note(String),
    /// The server refused what was asked.
    Refused(String),
    /// The server leaves; when to come back.
    ComeBack(Duration),
}

/// State of the reader, kept over connections.
#[derive(Debug, Default)]
pub(super) struct Feed {
    cursor: Option<Cursor>,
    alive: bool,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    result: Option<Answer>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    resumed: Option<bool>,
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    msg: String,
}

#[derive(Deserialize)]
struct Item {
    #[serde(rename = "type")]
    kind: String,
    epoch: Option<String>,
    seq: Option<u64>,
    reason: Option<String>,
    after_ms: Option<u64>,
}

impl Feed {
    /// Where to go on after a lost connection; none before the first change or `live`.
    pub(super) fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }

    /// Whether a subscription became live since this was asked last.
    pub(super) fn take_alive(&mut self) -> bool {
        std::mem::take(&mut self.alive)
    }

    /// One message of the server.
    pub(super) fn hear(&mut self, text: &str) -> Vec<Heard> {
        let message: Message<'_> = match serde_json::from_str(text) {
            Ok(message) => message,
            Err(error) => return vec![unreadable(&error)],
        };
        if let Some(refusal) = message.error {
            return vec![Heard::Refused(refusal.msg)];
        }
        if let Some(answer) = message.result {
            return self.answered(&answer);
        }
        let Some(data) = message.data else {
            return Vec::new();
        };
        let one = [data];
        let several: Vec<&RawValue>;
        let items: &[&RawValue] = if data.get().starts_with('[') {
            match serde_json::from_str(data.get()) {
                Ok(items) => several = items,
                Err(error) => return vec![unreadable(&error)],
            }
            &several
        } else {
            &one
        };
        items
            .iter()
            .filter_map(|item| self.item(item.get()))
            .collect()
    }

    fn answered(&mut self, answer: &Answer) -> Vec<Heard> {
        if answer.resumed != Some(false) {
            return Vec::new();
        }
        self.cursor = None; // of no use any more; the `live` that follows brings a new one
        let reason = answer.reason.as_deref().unwrap_or("no reason given");
        vec![Heard::Note(format!(
            "could not go on where it stopped ({reason}): changes in between are not shown"
        ))]
    }

    fn item(&mut self, text: &str) -> Option<Heard> {
        let item: Item = match serde_json::from_str(text) {
            Ok(item) => item,
            Err(error) => return Some(unreadable(&error)),
        };
        let place = item.epoch.zip(item.seq);
        let place = place.map(|(epoch, seq)| Cursor { epoch, seq });
        match item.kind.as_str() {
            "signal" | "correction" => {
                let known = |(place, cursor): (&Cursor, &Cursor)| {
                    place.epoch == cursor.epoch && place.seq <= cursor.seq
                };
                if place.as_ref().zip(self.cursor.as_ref()).is_some_and(known) {
                    return None; // printed already
                }
                self.cursor = place.or(self.cursor.take());
                Some(Heard::Change(text.to_owned()))
            }
            "live" => {
                self.alive = true;
                self.cursor = place.or(self.cursor.take());
                None
            }
            "reset" => {
                if place == self.cursor {
                    return None; // told on every stream, once is enough
                }
                self.cursor = place.or(self.cursor.take());
                let reason = item.reason.as_deref().unwrap_or("no reason given");
                let words =
                    format!("the numbering of changes began anew ({reason}): some may be missing");
                Some(Heard::Reset(text.to_owned(), words))
            }
            "reconnect" => {
                let after = Duration::from_millis(item.after_ms.unwrap_or(0));
                Some(Heard::ComeBack(after))
            }
            _ => None,
        }
    }
}

fn unreadable(error: &serde_json::Error) -> Heard {
    Heard::Note(format!(
        "a message that cannot be read was passed over: {error}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(seq: u64) -> String {
        format!(r#"{{"type":"signal","epoch":"k3v9","seq":{seq},"price":1.50}}"#)
    }

    fn wrapped(data: &str) -> String {
        format!(r#"{{"stream":"!signal_15m@arr","data":{data}}}"#)
    }

    fn cursor(epoch: &str, seq: u64) -> Cursor {
        Cursor {
            epoch: epoch.to_owned(),
            seq,
        }
    }

    #[test]
    fn items_keep_their_bytes_and_move_the_cursor() {
        let mut feed = Feed::default();
        let both = wrapped(&format!("[{}, {}]", signal(7), signal(9)));
        let heard = feed.hear(&both);
        assert_eq!(heard, [Heard::Change(signal(7)), Heard::Change(signal(9))]);
        assert_eq!(feed.cursor(), Some(&cursor("k3v9", 9)));
        assert_eq!(feed.hear(&wrapped(&signal(9))), []); // not twice
        feed.hear(&wrapped(r#"{"type":"live","epoch":"k3v9","seq":12}"#));
        assert_eq!(feed.cursor(), Some(&cursor("k3v9", 12)));
        assert!(feed.take_alive() && !feed.take_alive());
    }

    #[test]
    fn neither_welcome_nor_snapshot_nor_status_is_a_cursor() {
        let mut feed = Feed::default();
        for kind in ["welcome", "snapshot", "status", "hama", "a_new_kind"] {
            let item = format!(r#"{{"type":"{kind}","epoch":"k3v9","seq":5}}"#);
            assert_eq!(feed.hear(&wrapped(&item)), []);
            assert_eq!(feed.cursor(), None);
        }
        assert_eq!(feed.hear(r#"{"result":null,"id":1}"#), []);
    }

    #[test]
    fn a_resume_that_failed_and_a_new_numbering_are_told() {
        let mut feed = Feed::default();
        feed.hear(&wrapped(&signal(9)));
        let failed =
            r#"{"result":{"resumed":false,"reason":"epoch","epoch":"p0c2","seq":17},"id":2}"#;
        assert!(matches!(&feed.hear(failed)[..], [Heard::Note(words)] if words.contains("epoch")));
        assert_eq!(feed.cursor(), None);
        let reset = r#"{"type":"reset","epoch":"n","seq":0,"reason":"log_lost"}"#;
        let heard = feed.hear(&wrapped(&format!("[{reset}]")));
        assert!(
            matches!(&heard[..], [Heard::Reset(item, words)] if item == reset && words.contains("log_lost"))
        );
        assert_eq!(feed.hear(&wrapped(reset)), []);
        assert_eq!(feed.cursor(), Some(&cursor("n", 0)));
        assert_eq!(feed.hear(&wrapped(&signal(3))).len(), 1); // a low number of another epoch is new
    }

    #[test]
    fn a_refusal_and_a_farewell_are_heard() {
        let mut feed = Feed::default();
        let refused = r#"{"error":{"code":2,"msg":"unknown symbol 'FOOUSDT'"},"id":1}"#;
        assert_eq!(
            feed.hear(refused),
            [Heard::Refused("unknown symbol 'FOOUSDT'".to_owned())]
        );
        let bye = wrapped(r#"{"type":"reconnect","after_ms":1730}"#);
        assert_eq!(
            feed.hear(&bye),
            [Heard::ComeBack(Duration::from_millis(1_730))]
        );
        assert!(matches!(&feed.hear("{")[..], [Heard::Note(_)]));
    }
}
