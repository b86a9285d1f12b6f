//! A socket that gives up on a peer that does not take what is written to it. hyper bounds how long a request may
//! take to arrive, not how long its answer may take to leave; without this a client that reads nothing keeps its
//! connection, and what is buffered for it, for ever.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// A write that makes no progress for so long ends the connection.
const TAKEN_WITHIN: Duration = Duration::from_secs(20);

/// The socket of one HTTP connection.
pub(super) struct Patient {
    socket: TcpStream,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    /// `socket`, with a limit to waiting.
    pub(super) fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            stalled: None,
        }
    }

    /// The socket itself, for whoever takes the connection over.
    pub(super) fn into_socket(self) -> TcpStream {
        self.socket
    }

    /// Passes an answer of the socket on; "not yet" runs against the limit.
    fn progress<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let limit = || Box::pin(tokio::time::sleep(TAKEN_WITHIN));
        ready!(self.stalled.get_or_insert_with(limit).as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.progress(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.progress(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
