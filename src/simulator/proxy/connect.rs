//! The HTTP CONNECT side of the exchange's proxies. Only CONNECT: a client that asks for a page in its own words
//! (`GET http://..`) is told so.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{ProxyFault, Shared, Target};

const HEAD_MAX: usize = 8 * 1024;

/// Whom the client wants to reach; `None`: it was refused.
pub(super) async fn ask(
    client: &mut TcpStream,
    proxy: &Shared,
    fault: ProxyFault,
) -> io::Result<Option<Target>> {
    let head = head(client).await?;
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (words.next(), words.next().unwrap_or_default());
    let target = target.rsplit_once(':').and_then(|(host, port)| {
        let host = host.to_owned();
        let port = port.parse().ok()?;
        Some(Target { host, port })
    });
    let (Some("CONNECT"), Some(target)) = (method, target) else {
        return refuse(client, "405 Method Not Allowed\r\nAllow: CONNECT").await;
    };
    let said = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("proxy-authorization")
            .then_some(value.trim())
    });
    let wanted = proxy.settings.login.as_ref().map(|login| {
        let wanted = STANDARD.encode(format!("{}:{}", login.user, login.password));
        format!("Basic {wanted}")
    });
    let is_wrong = wanted.is_some_and(|wanted| said != Some(wanted.as_str()));
    if is_wrong || fault == ProxyFault::Auth {
        proxy.turned_away();
        let words =
            "407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"exchange\"";
        return refuse(client, words).await;
    }
    if let ProxyFault::Refuse { status } = fault {
        return refuse(client, &format!("{status} Refused")).await;
    }
    Ok(Some(target))
}

/// Says that the tunnel is open.
pub(super) async fn opened(client: &mut TcpStream) -> io::Result<()> {
    client
        .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .await
}

async fn refuse(client: &mut TcpStream, words: &str) -> io::Result<Option<Target>> {
    let answer = format!("HTTP/1.1 {words}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    client.write_all(answer.as_bytes()).await?;
    Ok(None)
}

async fn head(client: &mut TcpStream) -> io::Result<String> {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        if read.len() > HEAD_MAX {
            return Err(io::Error::other("a request without an end"));
        }
        read.push(client.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&read).into_owned())
}
