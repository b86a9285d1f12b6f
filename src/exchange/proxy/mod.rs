//! The proxy of the settings: its URL, its two protocols, its ways of failing. HTTP CONNECT and SOCKS5, both told the
//! exchange by name, so that names are resolved at the proxy; every target goes through a tunnel, `http://` ones too.
//! Whatever goes wrong here is an error that names the proxy without its password, and never a connection past it
//! (hazard 31). Who dials, and to whom, is `way`'s.

mod connect;
mod gate;
mod socks;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio::net::TcpStream;

pub(super) use self::gate::Gate;
use super::error::{Cause, first_cause};
use super::way;

/// Where a proxy listens when its URL does not say.
const HTTP_PORT: u16 = 80;
const SOCKS_PORT: u16 = 1080;

/// A proxy; clones share it. Shown without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy(Arc<Parts>);

#[derive(PartialEq, Eq)]
struct Parts {
    kind: Kind,
    host: String,
    port: u16,
    login: Option<Login>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http,
    Socks5,
}

#[derive(Clone, PartialEq, Eq)]
struct Login {
    user: String,
    password: String,
}

/// Why a text is no proxy. Repeats nothing of it: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadProxy {
    /// Not a URL of a host.
    #[error("it is no URL such as http://host:3128 or socks5h://user:password@host:1080")]
    NoUrl,
    /// TLS to the proxy itself.
    #[error("https:// proxies are not supported: use the http:// or socks5h:// port of the proxy")]
    Tls,
    /// A scheme nobody knows.
    #[error("its scheme is none of http, socks5, socks5h")]
    Scheme,
    /// More than a host.
    #[error(
        "it has a path, a query or a fragment; write /, ? and # in a password as %2F, %3F, %23"
    )]
    NotBare,
    /// A user or password the protocol cannot carry.
    #[error("its user or password is not UTF-8, too long, or has a colon in the user")]
    Login,
}

/// What a proxy did instead of opening a tunnel.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProxyFault {
    /// It is not there.
    #[error("no connection to it ({}); is it running, and is PROXY_URL right?", first_cause(.0))]
    NoConnection(#[source] Cause),
    /// It took too long.
    #[error("no tunnel to {target} within {limit:?}; it hangs, or cannot reach the exchange")]
    TimedOut {
        /// To whom.
        target: String,
        /// How long was waited.
        limit: Duration,
    },
    /// It wants a user and a password.
    #[error(
        "it wants a user and a password: put them into PROXY_URL (scheme://user:password@host:port)"
    )]
    LoginWanted,
    /// It does not know this user or password.
    #[error("it refuses the user or the password; mend PROXY_URL")]
    LoginRefused,
    /// Its rules do not let us through.
    #[error(
        "it does not let us through to {target} ({answer}); allow it there, or use another proxy"
    )]
    Forbidden {
        /// To whom.
        target: String,
        /// Its word for it.
        answer: String,
    },
    /// It cannot reach the exchange.
    #[error("it has no connection to {target} ({answer})")]
    Unable {
        /// To whom.
        target: String,
        /// Its word for it.
        answer: String,
    },
    /// The connection to it broke.
    #[error("the connection to it broke before there was a tunnel ({})", first_cause(.0))]
    Broken(#[source] Cause),
    /// It speaks another protocol.
    #[error("it does not speak {protocol} ({what}); is the scheme of PROXY_URL right?")]
    Nonsense {
        /// What it should speak.
        protocol: &'static str,
        /// What it said.
        what: String,
    },
}

impl ProxyFault {
    /// Whether only a person can mend it: a wrong password tried every second may lock the account.
    pub const fn needs_a_person(&self) -> bool {
        match self {
            Self::LoginWanted | Self::LoginRefused | Self::Forbidden { .. } => true,
            Self::NoConnection(_)
            | Self::TimedOut { .. }
            | Self::Unable { .. }
            | Self::Broken(_)
            | Self::Nonsense { .. } => false,
        }
    }
}

impl Proxy {
    /// Reads `http://`, `socks5://` or `socks5h://`, `user:password@` (percent-encoded) and a port if there are any.
    /// `socks5` means the same as `socks5h`: the name is always resolved at the proxy.
    ///
    /// # Errors
    /// `BadProxy`, which says why.
    pub fn parse(text: &str) -> Result<Self, BadProxy> {
        let url = reqwest::Url::parse(text.trim()).map_err(|_| BadProxy::NoUrl)?;
        let (kind, port) = match url.scheme() {
            "http" => (Kind::Http, HTTP_PORT),
            "socks5" | "socks5h" => (Kind::Socks5, SOCKS_PORT),
            "https" => return Err(BadProxy::Tls),
            _ => return Err(BadProxy::Scheme),
        };
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or(BadProxy::NoUrl)?.to_owned();
        let bare = matches!(url.path(), "" | "/");
        if !bare || url.query().is_some() || url.fragment().is_some() {
            return Err(BadProxy::NotBare);
        }
        let login = match (url.username(), url.password()) {
            ("", None) => None,
            (user, password) => Some(Login::read(user, password.unwrap_or_default(), kind)?),
        };
        let port = url.port().unwrap_or(port);
        Ok(Self(Arc::new(Parts {
            kind,
            host,
            port,
            login,
        })))
    }

    /// A tunnel to `host:port`, nodelay set.
    pub(super) async fn dial(
        &self,
        host: &str,
        port: u16,
        limit: Duration,
    ) -> Result<TcpStream, ProxyFault> {
        let work = async {
            let socket = way::tcp(&self.0.host, self.0.port, limit).await;
            let mut socket = socket.map_err(ProxyFault::NoConnection)?;
            let login = self.0.login.as_ref();
            match self.0.kind {
                Kind::Http => connect::open(&mut socket, host, port, login).await?,
                Kind::Socks5 => socks::open(&mut socket, host, port, login).await?,
            }
            Ok(socket)
        };
        let timed_out = ProxyFault::TimedOut {
            target: format!("{host}:{port}"),
            limit,
        };
        let done = tokio::time::timeout(limit, work).await;
        done.unwrap_or(Err(timed_out))
    }
}

impl Login {
    /// A SOCKS field has one byte for its length, and basic authentication ends the user at the first colon.
    fn read(user: &str, password: &str, kind: Kind) -> Result<Self, BadProxy> {
        let decoded = |text| {
            let text = percent_decode_str(text).decode_utf8();
            text.map(std::borrow::Cow::into_owned)
                .map_err(|_| BadProxy::Login)
        };
        let login = Self {
            user: decoded(user)?,
            password: decoded(password)?,
        };
        let fits = match kind {
            Kind::Http => !login.user.contains(':'),
            Kind::Socks5 => login.user.len().max(login.password.len()) <= usize::from(u8::MAX),
        };
        fits.then_some(login).ok_or(BadProxy::Login)
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.0.kind {
            Kind::Http => "http",
            Kind::Socks5 => "socks5h",
        };
        // Some services take a token as the user: nothing of a login is shown.
        let login = if self.0.login.is_some() { "***@" } else { "" };
        write!(f, "{scheme}://{login}{}:{}", self.0.host, self.0.port)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_read_as_people_write_it_and_shown_without_its_login() {
        for (text, shown) in [
            ("http://proxy", "http://proxy:80"),
            (" http://10.0.0.1:3128/ ", "http://10.0.0.1:3128"),
            ("socks5://proxy", "socks5h://proxy:1080"),
            ("socks5h://[::1]:9050", "socks5h://[::1]:9050"),
            ("HTTP://me:s3cret@proxy:80", "http://***@proxy:80"),
            ("socks5h://s3cret@proxy", "socks5h://***@proxy:1080"),
        ] {
            let proxy = Proxy::parse(text).unwrap();
            assert_eq!(proxy.to_string(), shown);
            assert_eq!(format!("{proxy:?}"), shown);
        }
        let proxy = Proxy::parse("http://m%20e:p%40ss%2F%E5%B8%81@h").unwrap();
        let login = proxy.0.login.as_ref();
        let login = login.unwrap();
        assert_eq!(
            (login.user.as_str(), login.password.as_str()),
            ("m e", "p@ss/币")
        );
    }

    #[test]
    fn h31_what_is_no_proxy_of_ours_is_refused_and_not_repeated() {
        let long = format!("socks5://{}:s3cret@h", "u".repeat(256));
        for (text, why) in [
            ("", BadProxy::NoUrl),
            ("http://", BadProxy::NoUrl),
            ("me:s3cret@host:3128", BadProxy::Scheme),
            ("host:3128", BadProxy::Scheme),
            ("socks4://host", BadProxy::Scheme),
            ("https://me:s3cret@host", BadProxy::Tls),
            ("http://me:s3cret@host/path", BadProxy::NotBare),
            ("socks5://host?s3cret", BadProxy::NotBare),
            ("http://a%3Ab:s3cret@host", BadProxy::Login),
            ("http://a:%FFs3cret@host", BadProxy::Login),
            (&long, BadProxy::Login),
        ] {
            let error = Proxy::parse(text).unwrap_err();
            assert_eq!(error, why, "{text}");
            assert!(!error.to_string().contains("s3cret"));
        }
    }
}
