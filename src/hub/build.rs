//! Buffers of frames: what a flush, a replay or a snapshot sends, with marks that say what each frame is, so that a
//! slow reader's rest can be sorted into what must come (changes) and what newer things replace (results).
//! Order within a buffer: changes ascending by number over all streams, then results. Arrays hold at most 200 items.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::frame;
use super::items;
use super::settings::Form;
use super::topic::{STATUS, Topic};
use super::topics::{TopicId, Topics};
use super::world::{Newest, World};
use crate::market::{SeriesKey, TimeMs};

/// Items of one array message.
const ARRAY_ITEMS: usize = 200;

/// What a stretch of a buffer is to a reader that did not take it.
#[derive(Debug, Clone)]
pub(super) enum What {
    /// Must come, and counts against the slow reader.
    Change,
    /// A result of one series: the newest is enough.
    Result(TopicId),
    /// Results of these series on an array stream.
    Results(TopicId, Arc<[SeriesKey]>),
    /// Heartbeats are made anew.
    Status,
    Beat,
}

/// A stretch of a buffer: whole frames up to `end`.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) end: usize,
    pub(super) what: What,
}

/// A buffer for everyone of a group.
#[derive(Debug, Clone)]
pub(super) struct Built {
    pub(super) bytes: Bytes,
    pub(super) parts: Vec<Part>,
}

/// Joined items by topic, first item and count: an array is joined once per flush, not once per group.
pub(super) type Joined = HashMap<(TopicId, usize, usize), Bytes>;

/// Frames in the making, in one form.
#[derive(Debug)]
pub(super) struct Builder<'a> {
    topics: &'a Topics,
    form: Form,
    buf: BytesMut,
    parts: Vec<Part>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(topics: &'a Topics, form: Form) -> Self {
        Self {
            topics,
            form,
            buf: BytesMut::new(),
            parts: Vec::new(),
        }
    }

    pub(super) fn finish(self) -> Built {
        Built {
            bytes: self.buf.freeze(),
            parts: self.parts,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.buf.len()
    }

    /// Items in their order, each for a topic. Neighbours of one array topic become one array; any other topic between
    /// them ends it, so that numbers ascend over all streams of a connection.
    pub(super) fn changes<'i>(
        &mut self,
        touches: &[(usize, TopicId)],
        item: impl Fn(usize) -> &'i Bytes,
        joined: &mut Joined,
    ) {
        for run in touches.chunk_by(|a, b| a.1 == b.1) {
            let Some((first, id)) = run.first().copied() else {
                continue;
            };
            let Some(entry) = self.topics.entry(id) else {
                continue;
            };
            if !entry.topic.is_array() {
                for (index, _) in run {
                    frame::push_item(&mut self.buf, self.form, &entry.name, &[item(*index)]);
                }
                self.mark(What::Change);
                continue;
            }
            for chunk in run.chunks(ARRAY_ITEMS) {
                let at = chunk.first().map_or(first, |(index, _)| *index);
                let array = joined.entry((id, at, chunk.len())).or_insert_with(|| {
                    join(chunk.iter().map(|(index, _)| [&[][..], item(*index)]))
                });
                frame::push_item(&mut self.buf, self.form, &entry.name, &[array]);
            }
            self.mark(What::Change);
        }
    }

    /// The newest result of one series on its own stream.
    pub(super) fn result(&mut self, id: TopicId, world: &World) {
        let Some(entry) = self.topics.entry(id) else {
            return;
        };
        if let Topic::Hama(key) = &entry.topic
            && let Some(newest) = world.newest(key)
        {
            let pieces = [items::HAMA, newest.body()];
            frame::push_item(&mut self.buf, self.form, &entry.name, &pieces);
            self.mark(What::Result(id));
        }
    }

    /// Results of these series on an array stream.
    pub(super) fn results(&mut self, id: TopicId, chunks: &[Chunk]) {
        let Some(entry) = self.topics.entry(id) else {
            return;
        };
        for chunk in chunks {
            frame::push_item(&mut self.buf, self.form, &entry.name, &[&chunk.array]);
            self.mark(What::Results(id, chunk.keys.clone()));
        }
    }

    /// An item on the heartbeat's stream.
    pub(super) fn status(&mut self, item: &[u8]) {
        frame::push_item(&mut self.buf, self.form, STATUS, &[item]);
        self.mark(What::Status);
    }

    /// The watch list changed: an item on the heartbeat's stream that must come.
    pub(super) fn symbols(&mut self, item: &[u8]) {
        frame::push_item(&mut self.buf, self.form, STATUS, &[item]);
        self.mark(What::Change);
    }

    /// The heartbeat of raw connections.
    pub(super) fn beat(&mut self, item: &[u8]) {
        frame::push_item(&mut self.buf, self.form, STATUS, &[item]);
        self.mark(What::Beat);
    }

    /// One item of a topic, as an array when its items come in arrays.
    pub(super) fn one(&mut self, id: TopicId, item: &[u8]) {
        if let Some(entry) = self.topics.entry(id) {
            let (open, close): (&[u8], &[u8]) = if entry.topic.is_array() {
                (b"[", b"]")
            } else {
                (b"", b"")
            };
            let pieces = [open, item, close];
            frame::push_item(&mut self.buf, self.form, &entry.name, &pieces);
            self.mark(What::Change);
        }
    }

    /// The topic's snapshot and its `live`.
    pub(super) fn snapshot(&mut self, id: TopicId, world: &World, now: TimeMs) {
        let Some(entry) = self.topics.entry(id) else {
            return;
        };
        let form = self.form;
        let head = items::snapshot_head(world.at());
        match &entry.topic {
            Topic::Signal(key) | Topic::Hama(key) => {
                let pieces = [head.as_bytes(), &world.body_of(key, now)];
                frame::push_item(&mut self.buf, form, &entry.name, &pieces);
            }
            Topic::SignalAll(interval) | Topic::HamaAll(interval) => {
                let all: Vec<&Newest> = world.of_interval(*interval).map(|(_, n)| n).collect();
                if all.is_empty() {
                    frame::push_item(&mut self.buf, form, &entry.name, &[b"[]"]);
                }
                for chunk in all.chunks(ARRAY_ITEMS) {
                    let array = join(chunk.iter().map(|n| [head.as_bytes(), n.body()]));
                    frame::push_item(&mut self.buf, form, &entry.name, &[&array]);
                }
            }
            Topic::Status => {}
        }
        self.one(id, &items::live(world.at()));
    }

    fn mark(&mut self, what: What) {
        let end = self.buf.len();
        if self.parts.last().map_or(0, |part| part.end) < end {
            self.parts.push(Part { end, what });
        }
    }
}

/// Part of an array stream's results: one message.
#[derive(Debug, Clone)]
pub(super) struct Chunk {
    keys: Arc<[SeriesKey]>,
    array: Bytes,
}

/// The newest results of these series, as messages of an array stream.
pub(super) fn chunks(world: &World, keys: &BTreeSet<SeriesKey>) -> Vec<Chunk> {
    let known: Vec<(&SeriesKey, &Newest)> = keys
        .iter()
        .filter_map(|key| world.newest(key).map(|newest| (key, newest)))
        .collect();
    known
        .chunks(ARRAY_ITEMS)
        .map(|chunk| Chunk {
            keys: chunk.iter().map(|(key, _)| (*key).clone()).collect(),
            array: join(chunk.iter().map(|(_, n)| [items::HAMA, n.body()])),
        })
        .collect()
}

/// `[item,item]` of items in two pieces each.
fn join<'a>(items: impl Iterator<Item = [&'a [u8]; 2]>) -> Bytes {
    let mut array = vec![b'['];
    for [head, body] in items {
        if array.len() > 1 {
            array.push(b',');
        }
        array.extend_from_slice(head);
        array.extend_from_slice(body);
    }
    array.push(b']');
    array.into()
}
