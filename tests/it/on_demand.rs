//! Watching on demand, for readers: a contract that trades and is not watched is watched by asking for it, over the feed,
//! REST and the compatible API, within limits; and let go when nobody wants it any more.

mod feed;
mod redis;
mod rest;
mod whole;
