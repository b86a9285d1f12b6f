//! What the integration tests share.

pub(crate) mod cluster;
pub(crate) mod fixtures;
pub(crate) mod http_room;
pub(crate) mod hub;
pub(crate) mod process;
pub(crate) mod puppet;
pub(crate) mod redis;
