//! What the integration tests share.

pub(crate) mod hub;
pub(crate) mod process;
