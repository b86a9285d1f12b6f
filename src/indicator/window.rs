//! The newest values of a series but one: a window of `n` values is these `n - 1` and the one that is asked about.
//! Keeping one less is what lets an open candle be peeked without moving anything.

use std::collections::VecDeque;

use super::Length;

/// The newest `n - 1` values, oldest first.
#[derive(Debug, Clone)]
pub(super) struct Window {
    others: VecDeque<f64>,
    most: usize,
}

impl Window {
    /// An empty window of `length` values, the last of which is never kept.
    pub(super) fn new(length: Length) -> Self {
        let most = length.count() - 1;
        Self {
            others: VecDeque::with_capacity(most),
            most,
        }
    }

    /// Whether one more value makes the window whole.
    pub(super) fn is_full(&self) -> bool {
        self.others.len() == self.most
    }

    /// Takes `value` in as the newest; the oldest leaves when the window is full.
    pub(super) fn push(&mut self, value: f64) {
        if self.is_full() && self.others.pop_front().is_none() {
            return; // a window of one value keeps none
        }
        self.others.push_back(value);
    }

    /// The values kept, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = f64> {
        self.others.iter().copied()
    }

    /// The oldest value kept.
    pub(super) fn oldest(&self) -> Option<f64> {
        self.others.front().copied()
    }
}
