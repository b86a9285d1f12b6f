//! From the URLs of the settings to the ones we call. Since 2026-04-23 candles come only below `/market`; the old paths
//! still connect and acknowledge, and deliver nothing (hazard 8), so the path is ours and never the operator's to know.

use crate::exchange::ExchangeError;

/// The base of all REST paths.
pub(super) fn rest_base(text: &str) -> Result<reqwest::Url, ExchangeError> {
    parse(text, ["http", "https"], "http(s)")
}

/// Where all connections of the streams go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// The whole URL: names are subscribed afterwards, 200 of them do not fit it.
    pub(super) url: String,
    pub(super) host: String,
    pub(super) port: u16,
}

pub(super) fn stream_target(text: &str) -> Result<Target, ExchangeError> {
    let url = parse(text, ["ws", "wss"], "ws(s)")?;
    let base = url.as_str().trim_end_matches('/');
    let base = base.strip_suffix("/stream").unwrap_or(base);
    let base = base.strip_suffix("/market").unwrap_or(base);
    Ok(Target {
        host: url.host_str().unwrap_or_default().to_owned(),
        port: url.port_or_known_default().unwrap_or(443),
        url: format!("{base}/market/stream"),
    })
}

fn parse(
    text: &str,
    allowed: [&str; 2],
    schemes: &'static str,
) -> Result<reqwest::Url, ExchangeError> {
    reqwest::Url::parse(text.trim())
        .ok()
        .filter(|url| {
            allowed.contains(&url.scheme())
                && url.host_str().is_some()
                && url.query().is_none()
                && url.fragment().is_none()
        })
        .ok_or_else(|| ExchangeError::BadUrl {
            url: without_login(text),
            schemes,
        })
}

/// What stands before an `@` may be a password.
fn without_login(text: &str) -> String {
    let Some((login, host)) = text.rsplit_once('@') else {
        return text.to_owned();
    };
    let scheme = login.split_inclusive("://").next();
    let scheme = scheme.filter(|scheme| scheme.ends_with("://"));
    format!("{}***@{host}", scheme.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h08_streams_always_go_below_market() {
        for base in [
            "wss://fstream.binance.com",
            "wss://fstream.binance.com/",
            "wss://fstream.binance.com/market",
            "wss://fstream.binance.com/market/",
            "wss://fstream.binance.com/market/stream",
            " wss://fstream.binance.com/stream",
        ] {
            assert_eq!(
                stream_target(base).unwrap().url,
                "wss://fstream.binance.com/market/stream",
                "{base}"
            );
        }
        for (base, host, port) in [
            ("ws://127.0.0.1:9000", "127.0.0.1", 9_000),
            ("ws://[::1]", "[::1]", 80),
            ("wss://exchange", "exchange", 443),
        ] {
            let target = stream_target(base).unwrap();
            assert_eq!((target.host.as_str(), target.port), (host, port));
            assert_eq!(target.url, format!("{base}/market/stream"));
        }
    }

    #[test]
    fn a_url_of_another_kind_is_refused_with_its_text() {
        for bad in ["", "fapi.binance.com", "ftp://x", "https://h/?a=1"] {
            let error = rest_base(bad).unwrap_err().to_string();
            assert!(error.contains(bad), "{error}");
        }
        assert!(stream_target("https://fstream.binance.com").is_err());
    }

    #[test]
    fn a_login_in_a_url_that_is_refused_is_not_repeated() {
        for bad in [
            "ftp://me:s3cret@host",
            "me:s3cret@host",
            "wss://s3cret@host?a=1",
        ] {
            let error = rest_base(bad).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
            assert!(error.to_string().contains("***@host"), "{error}");
        }
    }
}
