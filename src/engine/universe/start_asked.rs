//! A start on its way: from the engine to who makes its watch list and back. What must hold: an operator's start that nobody
//! waits for any more, or that a stop has overtaken, comes to nothing wherever it is.

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::watch_list::Names;
use crate::engine::order::{OrderError, StartOrder, Started};

/// A start whose watch list is to be made.
pub(in crate::engine) struct StartAsked {
    pub(in crate::engine) order: StartOrder,
    pub(in crate::engine) names: Names,
    pub(in crate::engine) answer: oneshot::Sender<Result<Started, OrderError>>,
    /// Cancelled by a stop that came after it.
    overtaken: CancellationToken,
}

impl StartAsked {
    /// An operator's.
    pub(in crate::engine) const fn by_operator(
        order: StartOrder,
        answer: oneshot::Sender<Result<Started, OrderError>>,
        overtaken: CancellationToken,
    ) -> Self {
        Self {
            order,
            names: Names::MustTrade,
            answer,
            overtaken,
        }
    }

    /// Our own, at a takeover: only about the list, so that no stop concerns it, and nobody waits for it.
    pub(in crate::engine) fn at_takeover(order: StartOrder) -> Self {
        Self {
            order,
            names: Names::MayHaveEnded,
            answer: oneshot::channel().0,
            overtaken: CancellationToken::new(),
        }
    }

    /// Whether an operator gave it.
    pub(in crate::engine) fn is_an_operators(&self) -> bool {
        self.names == Names::MustTrade
    }

    /// Whether it must come to nothing: who asked was told that nothing came of it, or has asked for a stop since.
    pub(in crate::engine) fn is_void(&self) -> bool {
        self.is_an_operators() && (self.answer.is_closed() || self.overtaken.is_cancelled())
    }
}
