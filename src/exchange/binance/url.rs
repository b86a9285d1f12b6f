//! From the URLs of the settings to the ones we call. Since 2026-04-23 candles come only below `/market`; the old paths
//! still connect and acknowledge, and deliver nothing (hazard 8), so the path is ours and never the operator's to know.

use crate::exchange::ExchangeError;

/// The base of all REST paths.
pub(super) fn rest_base(text: &str) -> Result<reqwest::Url, ExchangeError> {
    parse(text, ["http", "https"], "http(s)")
}

/// Where all connections of the streams go: names are subscribed afterwards, 200 of them do not fit a URL.
pub(super) fn stream_url(text: &str) -> Result<String, ExchangeError> {
    let url = parse(text, ["ws", "wss"], "ws(s)")?;
    let base = url.as_str().trim_end_matches('/');
    let base = base.strip_suffix("/stream").unwrap_or(base);
    let base = base.strip_suffix("/market").unwrap_or(base);
    Ok(format!("{base}/market/stream"))
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
            url: text.to_owned(),
            schemes,
        })
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
                stream_url(base).unwrap(),
                "wss://fstream.binance.com/market/stream",
                "{base}"
            );
        }
        assert_eq!(
            stream_url("ws://127.0.0.1:9000").unwrap(),
            "ws://127.0.0.1:9000/market/stream"
        );
    }

    #[test]
    fn a_url_of_another_kind_is_refused_with_its_text() {
        for bad in ["", "fapi.binance.com", "ftp://x", "https://h/?a=1"] {
            let error = rest_base(bad).unwrap_err().to_string();
            assert!(error.contains(bad), "{error}");
        }
        assert!(stream_url("https://fstream.binance.com").is_err());
    }
}
