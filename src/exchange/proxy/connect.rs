//! HTTP CONNECT: one request, one head in answer, and from then on the socket is the exchange's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Login, ProxyFault};
use crate::exchange::error::Cause;

/// No right answer has a longer head.
const HEAD_MAX: usize = 8 * 1024;
const PROTOCOL: &str = "HTTP CONNECT";

/// Has the proxy connect `socket` to `host:port`.
pub(super) async fn open(
    socket: &mut TcpStream,
    host: &str,
    port: u16,
    login: Option<&Login>,
) -> Result<(), ProxyFault> {
    let target = format!("{host}:{port}");
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(Login { user, password }) = login {
        let basic = STANDARD.encode(format!("{user}:{password}"));
        request += &format!("Proxy-Authorization: Basic {basic}\r\n");
    }
    request += "\r\n";
    let sent = socket.write_all(request.as_bytes()).await;
    sent.map_err(|error| ProxyFault::Broken(Cause::new(error)))?;
    let (head, early) = answer(socket).await?;
    let status = status(&head)?;
    match status {
        200..300 if early == 0 => Ok(()),
        // The exchange never speaks first: these bytes are the proxy's own.
        200..300 => Err(nonsense("it said more than that the tunnel is open")),
        407 if login.is_some() => Err(ProxyFault::LoginRefused),
        407 => Err(ProxyFault::LoginWanted),
        403 | 405 | 451 => Err(ProxyFault::Forbidden {
            target,
            answer: status.to_string(),
        }),
        _ => Err(ProxyFault::Unable {
            target,
            answer: status.to_string(),
        }),
    }
}

/// The head of the answer, and how many bytes came behind it.
async fn answer(socket: &mut TcpStream) -> Result<(Vec<u8>, usize), ProxyFault> {
    let mut read = Vec::with_capacity(512);
    loop {
        let count = socket.read_buf(&mut read).await;
        if count.map_err(|error| ProxyFault::Broken(Cause::new(error)))? == 0 {
            let ended = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
            return Err(ProxyFault::Broken(Cause::new(ended)));
        }
        if let Some(end) = memmem::find(&read, b"\r\n\r\n") {
            let early = read.len() - end - 4;
            read.truncate(end);
            return Ok((read, early));
        }
        if read.len() > HEAD_MAX {
            return Err(nonsense("its answer has no end"));
        }
    }
}

fn status(head: &[u8]) -> Result<u16, ProxyFault> {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let is_http = words.next().is_some_and(|word| word.starts_with("HTTP/1."));
    let status = words.next().and_then(|word| word.parse().ok());
    status
        .filter(|_| is_http)
        .ok_or_else(|| nonsense("its answer does not begin with a status"))
}

fn nonsense(what: &str) -> ProxyFault {
    ProxyFault::Nonsense {
        protocol: PROTOCOL,
        what: what.to_owned(),
    }
}
