//! A client's TCP connection with what faults do to bytes: they may leave slowly, and the end may be a reset.
//! Whoever holds the `LineControl` decides; HTTP and WebSocket above know nothing of it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// Portions a second in which slow bytes leave.
const PORTIONS_PER_SECOND: u64 = 20;

/// A connection.
#[derive(Debug)]
pub(super) struct Line {
    stream: TcpStream,
    control: Arc<LineControl>,
    pause: Option<Pin<Box<Sleep>>>,
}

/// What happens to a connection's bytes.
#[derive(Debug, Default)]
pub(super) struct LineControl {
    /// 0: as many as there are.
    bytes_per_second: AtomicU64,
    resets: AtomicBool,
}

impl Line {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            control: Arc::default(),
            pause: None,
        }
    }

    pub(super) fn control(&self) -> &Arc<LineControl> {
        &self.control
    }
}

impl LineControl {
    /// From now on so many bytes a second; `None`: as fast as they come.
    pub(super) fn slow_to(&self, bytes_per_second: Option<u64>) {
        let rate = bytes_per_second.unwrap_or(0);
        self.bytes_per_second.store(rate, Ordering::Relaxed);
    }

    /// The connection's end will be a reset instead of a goodbye.
    pub(super) fn reset_at_end(&self) {
        self.resets.store(true, Ordering::Relaxed);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.control.resets.load(Ordering::Relaxed) {
            reset(&self.stream);
        }
    }
}

/// Makes the connection's end a reset: what is still to be sent is thrown away.
pub(super) fn reset(stream: &TcpStream) {
    // Fails only on a connection that has ended already.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let rate = self.control.bytes_per_second.load(Ordering::Relaxed);
        if rate == 0 {
            return Pin::new(&mut self.stream).poll_write(cx, buf);
        }
        let portion = usize::try_from(rate.div_ceil(PORTIONS_PER_SECOND)).unwrap_or(usize::MAX);
        let part = &buf[..buf.len().min(portion)];
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, part))?;
        let pause = Duration::from_secs_f64(written as f64 / rate as f64);
        self.pause = Some(Box::pin(tokio::time::sleep(pause)));
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
