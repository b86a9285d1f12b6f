//! SOCKS5 (RFC 1928) with user and password (RFC 1929): how to log in, whom to connect to. A name goes to the proxy as a
//! name; an address only where the settings have an address.

use std::net::IpAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Login, ProxyFault};
use crate::exchange::error::Cause;

const VERSION: u8 = 5;
const LOGIN_VERSION: u8 = 1;
const NO_LOGIN: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const NONE_OF_THESE: u8 = 0xff;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Has the proxy connect `socket` to `host:port`.
pub(super) async fn open(
    socket: &mut TcpStream,
    host: &str,
    port: u16,
    login: Option<&Login>,
) -> Result<(), ProxyFault> {
    log_in(socket, login).await?;
    let address = address(host)?;
    let mut request = vec![VERSION, CONNECT, 0];
    request.extend_from_slice(&address);
    request.extend_from_slice(&port.to_be_bytes());
    send(socket, &request).await?;
    let [version, reply, _, kind] = read(socket).await?;
    expect(version, VERSION)?;
    if reply != 0 {
        return Err(refusal(reply, format!("{host}:{port}")));
    }
    // Where the proxy connects from: of no use, but it stands before the exchange's first byte.
    let left = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => usize::from(read::<1>(socket).await?[0]),
        _ => return Err(nonsense(format!("an address of kind {kind}"))),
    };
    let mut bound = vec![0; left + 2];
    let done = socket.read_exact(&mut bound).await;
    done.map_err(|error| ProxyFault::Broken(Cause::new(error)))?;
    Ok(())
}

async fn log_in(socket: &mut TcpStream, login: Option<&Login>) -> Result<(), ProxyFault> {
    // Who has a login offers nothing else: a proxy that lets everybody in may ignore the password, not our wish to use it.
    let offered = if login.is_some() {
        USER_AND_PASSWORD
    } else {
        NO_LOGIN
    };
    send(socket, &[VERSION, 1, offered]).await?;
    let [version, method] = read(socket).await?;
    expect(version, VERSION)?;
    let Login { user, password } = match (login, method) {
        (None, NO_LOGIN) => return Ok(()),
        (None, USER_AND_PASSWORD | NONE_OF_THESE) => return Err(ProxyFault::LoginWanted),
        (Some(_), NONE_OF_THESE) => return Err(ProxyFault::LoginRefused),
        (Some(login), USER_AND_PASSWORD) => login,
        _ => return Err(nonsense(format!("login by method {method}"))),
    };
    let mut request = vec![LOGIN_VERSION];
    for text in [user, password] {
        request.push(u8::try_from(text.len()).unwrap_or(u8::MAX)); // checked when it was read
        request.extend_from_slice(text.as_bytes());
    }
    send(socket, &request).await?;
    let [version, verdict] = read(socket).await?;
    expect(version, LOGIN_VERSION)?;
    match verdict {
        0 => Ok(()),
        _ => Err(ProxyFault::LoginRefused),
    }
}

/// `host` as a request has it: kind, then bytes.
fn address(host: &str) -> Result<Vec<u8>, ProxyFault> {
    match host.trim_matches(['[', ']']).parse() {
        Ok(IpAddr::V4(address)) => Ok([&[IPV4], address.octets().as_slice()].concat()),
        Ok(IpAddr::V6(address)) => Ok([&[IPV6], address.octets().as_slice()].concat()),
        Err(_) => match u8::try_from(host.len()) {
            Ok(length) => Ok([&[NAME, length], host.as_bytes()].concat()),
            Err(_) => Err(nonsense("no name is longer than 255 bytes".to_owned())),
        },
    }
}

/// The replies of RFC 1928, section 6.
fn refusal(reply: u8, target: String) -> ProxyFault {
    let words = match reply {
        1 => "general failure",
        2 => "not allowed by its rules",
        3 => "network unreachable",
        4 => "host unreachable, or a name it cannot resolve",
        5 => "connection refused",
        6 => "timed out on the way",
        7 => "it knows no CONNECT",
        8 => "it knows no names",
        _ => "an unknown reply",
    };
    let answer = format!("reply {reply}: {words}");
    match reply {
        2 => ProxyFault::Forbidden { target, answer },
        _ => ProxyFault::Unable { target, answer },
    }
}

async fn send(socket: &mut TcpStream, bytes: &[u8]) -> Result<(), ProxyFault> {
    let sent = socket.write_all(bytes).await;
    sent.map_err(|error| ProxyFault::Broken(Cause::new(error)))
}

async fn read<const COUNT: usize>(socket: &mut TcpStream) -> Result<[u8; COUNT], ProxyFault> {
    let mut bytes = [0; COUNT];
    let done = socket.read_exact(&mut bytes).await;
    done.map_err(|error| ProxyFault::Broken(Cause::new(error)))?;
    Ok(bytes)
}

fn expect(version: u8, expected: u8) -> Result<(), ProxyFault> {
    if version == expected {
        return Ok(());
    }
    Err(nonsense(format!("version {version} instead of {expected}")))
}

fn nonsense(what: String) -> ProxyFault {
    ProxyFault::Nonsense {
        protocol: "SOCKS5",
        what,
    }
}
