//! Which streams have subscribers, and which connections share the same set of streams and the same form: a group.
//! A flush builds one buffer per group. Entries live only while somebody needs them; ids are never used twice.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use super::session::SessionId;
use super::settings::Form;
use super::topic::Topic;

/// A topic with subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TopicId(u64);

/// A set of connections that get the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct GroupId(u64);

/// A topic's snapshot and `live`, framed, as of a version of the state.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) version: u64,
    pub(super) frames: Bytes,
}

#[derive(Debug)]
pub(super) struct TopicEntry {
    pub(super) topic: Topic,
    pub(super) name: Arc<str>,
    subscribers: usize,
    groups: BTreeSet<GroupId>,
    /// By form: wrapped, raw.
    pub(super) snapshots: [Option<Snapshot>; 2],
}

/// Which connections a group holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct GroupKey {
    form: Form,
    topics: Box<[TopicId]>,
}

#[derive(Debug)]
pub(super) struct Group {
    key: GroupKey,
    pub(super) wants_status: bool,
    pub(super) members: BTreeSet<SessionId>,
    /// Of the flush under way: which event goes to which of its topics, in order.
    pub(super) touches: Vec<(usize, TopicId)>,
    /// Of the flush under way: its result streams with something new.
    pub(super) results: Vec<TopicId>,
}

impl Group {
    pub(super) fn form(&self) -> Form {
        self.key.form
    }

    pub(super) fn has(&self, topic: TopicId) -> bool {
        self.key.topics.binary_search(&topic).is_ok()
    }
}

/// Topics and groups of a shard.
#[derive(Debug, Default)]
pub(super) struct Topics {
    next_id: u64,
    by_topic: HashMap<Topic, TopicId>,
    entries: HashMap<TopicId, TopicEntry>,
    by_key: HashMap<GroupKey, GroupId>,
    pub(super) groups: HashMap<GroupId, Group>,
}

impl Topics {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The topic's id, when somebody subscribes to it.
    pub(super) fn id(&self, topic: &Topic) -> Option<TopicId> {
        self.by_topic.get(topic).copied()
    }

    /// Every topic somebody subscribes to.
    pub(super) fn all(&self) -> impl Iterator<Item = &Topic> {
        self.by_topic.keys()
    }

    pub(super) fn entry(&self, id: TopicId) -> Option<&TopicEntry> {
        self.entries.get(&id)
    }

    pub(super) fn entry_mut(&mut self, id: TopicId) -> Option<&mut TopicEntry> {
        self.entries.get_mut(&id)
    }

    /// Counts one more subscriber of `topic`.
    pub(super) fn subscribe(&mut self, topic: &Topic) -> TopicId {
        let id = self.id(topic).unwrap_or_else(|| {
            self.next_id += 1;
            let id = TopicId(self.next_id);
            self.by_topic.insert(topic.clone(), id);
            let entry = TopicEntry {
                topic: topic.clone(),
                name: topic.name().into(),
                subscribers: 0,
                groups: BTreeSet::new(),
                snapshots: [None, None],
            };
            self.entries.insert(id, entry);
            id
        });
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.subscribers += 1;
        }
        id
    }

    /// Counts one subscriber less; the last one takes the topic with it, which is given back. Its groups must be left
    /// before.
    pub(super) fn unsubscribe(&mut self, id: TopicId) -> Option<Topic> {
        let entry = self.entries.get_mut(&id)?;
        entry.subscribers -= 1;
        if entry.subscribers > 0 {
            return None;
        }
        let TopicEntry { topic, .. } = self.entries.remove(&id)?;
        self.by_topic.remove(&topic);
        Some(topic)
    }

    /// Puts a connection with these topics into its group.
    pub(super) fn join(
        &mut self,
        session: SessionId,
        form: Form,
        topics: &BTreeSet<TopicId>,
    ) -> GroupId {
        let key = GroupKey {
            form,
            topics: topics.iter().copied().collect(),
        };
        let id = match self.by_key.get(&key) {
            Some(id) => *id,
            None => self.new_group(key),
        };
        if let Some(group) = self.groups.get_mut(&id) {
            group.members.insert(session);
        }
        id
    }

    /// Takes a connection out of its group; the last one takes the group with it.
    pub(super) fn leave(&mut self, session: SessionId, id: GroupId) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        group.members.remove(&session);
        if !group.members.is_empty() {
            return;
        }
        if let Some(group) = self.groups.remove(&id) {
            for topic in &group.key.topics {
                if let Some(entry) = self.entries.get_mut(topic) {
                    entry.groups.remove(&id);
                }
            }
            self.by_key.remove(&group.key);
        }
    }

    fn new_group(&mut self, key: GroupKey) -> GroupId {
        self.next_id += 1;
        let id = GroupId(self.next_id);
        let status = self.id(&Topic::Status);
        for topic in &key.topics {
            if let Some(entry) = self.entries.get_mut(topic) {
                entry.groups.insert(id);
            }
        }
        let asked = status.is_some_and(|status| key.topics.contains(&status));
        let group = Group {
            wants_status: key.form == Form::Wrapped || asked,
            members: BTreeSet::new(),
            touches: Vec::new(),
            results: Vec::new(),
            key: key.clone(),
        };
        self.by_key.insert(key, id);
        self.groups.insert(id, group);
        id
    }

    /// Notes for every group of `topic` that `note` applies to it; each group named for the first time is added to `touched`.
    pub(super) fn touch(
        &mut self,
        topic: &Topic,
        touched: &mut BTreeSet<GroupId>,
        note: impl Fn(&mut Group, TopicId),
    ) {
        let Some(id) = self.id(topic) else {
            return;
        };
        let Some(entry) = self.entries.get(&id) else {
            return;
        };
        for group_id in &entry.groups {
            if let Some(group) = self.groups.get_mut(group_id) {
                note(group, id);
                touched.insert(*group_id);
            }
        }
    }
}
