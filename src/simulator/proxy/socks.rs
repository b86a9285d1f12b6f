//! The SOCKS5 side of the exchange's proxies: RFC 1928, CONNECT only, and user and password as in RFC 1929.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{ProxyFault, Shared, Target};

const SUCCEEDED: u8 = 0;
const NOT_ALLOWED: u8 = 2;
const HOST_UNREACHABLE: u8 = 4;
const NO_SUCH_COMMAND: u8 = 7;

/// Whom the client wants to reach; `None`: it was refused.
pub(super) async fn ask(
    client: &mut TcpStream,
    proxy: &Shared,
    fault: ProxyFault,
) -> io::Result<Option<Target>> {
    if !let_in(client, proxy, fault).await? {
        proxy.turned_away();
        return Ok(None);
    }
    let [_, command, _, kind] = bytes(client).await?;
    let host = match kind {
        1 => Ipv4Addr::from(bytes::<4>(client).await?).to_string(),
        4 => format!("[{}]", Ipv6Addr::from(bytes::<16>(client).await?)),
        _ => field(client).await?,
    };
    let port = client.read_u16().await?;
    let refusal = match (command, fault) {
        (1, ProxyFault::Refuse { status: 403 }) => NOT_ALLOWED,
        (1, ProxyFault::Refuse { .. }) => HOST_UNREACHABLE,
        (
            1,
            ProxyFault::None | ProxyFault::Auth | ProxyFault::Hang | ProxyFault::DropAfter { .. },
        ) => return Ok(Some(Target { host, port })),
        _ => NO_SUCH_COMMAND,
    };
    reply(client, refusal).await?;
    Ok(None)
}

/// Says that the tunnel is open.
pub(super) async fn opened(client: &mut TcpStream) -> io::Result<()> {
    reply(client, SUCCEEDED).await
}

async fn let_in(client: &mut TcpStream, proxy: &Shared, fault: ProxyFault) -> io::Result<bool> {
    let [_, count] = bytes(client).await?;
    let mut offered = vec![0; usize::from(count)];
    client.read_exact(&mut offered).await?;
    let login = proxy.settings.login.as_ref();
    if login.is_none() && fault != ProxyFault::Auth {
        let open = offered.contains(&0);
        client.write_all(&[5, if open { 0 } else { 0xff }]).await?;
        return Ok(open);
    }
    if !offered.contains(&2) {
        client.write_all(&[5, 0xff]).await?;
        return Ok(false);
    }
    client.write_all(&[5, 2]).await?;
    client.read_u8().await?; // the version of what follows
    let user = field(client).await?;
    let password = field(client).await?;
    let is_good = login.is_some_and(|login| user == login.user && password == login.password);
    let right = is_good && fault != ProxyFault::Auth;
    client.write_all(&[1, u8::from(!right)]).await?;
    Ok(right)
}

/// Bound to no address anybody could use.
async fn reply(client: &mut TcpStream, code: u8) -> io::Result<()> {
    client.write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0]).await
}

async fn bytes<const COUNT: usize>(client: &mut TcpStream) -> io::Result<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    client.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// A text behind its length.
async fn field(client: &mut TcpStream) -> io::Result<String> {
    let mut text = vec![0; usize::from(client.read_u8().await?)];
    client.read_exact(&mut text).await?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
