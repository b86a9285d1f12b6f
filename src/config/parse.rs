//! From the text of a setting to its value. A parser says what is wrong with a part ("'x' stands twice") or nothing;
//! what is allowed stands in the table. A message never repeats a part of a secret. What passed here is never checked
//! again.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use crate::market::{Interval, Symbol};

use super::{ApiKey, LogFormat, Network, Secret};

/// What is wrong, beyond "not allowed"; may be empty.
pub(super) type Parsed<T> = Result<T, String>;

fn plainly_wrong() -> String {
    String::new()
}

pub(super) fn from_str<T: FromStr>(text: &str) -> Parsed<T> {
    text.parse().map_err(|_| plainly_wrong())
}

pub(super) fn number<T>(range: RangeInclusive<T>) -> impl Fn(&str) -> Parsed<T>
where
    T: FromStr + PartialOrd,
{
    move |text| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit()); // no sign, no fraction
        let value = text.parse().ok().filter(|value| range.contains(value));
        value.filter(|_| digits).ok_or_else(plainly_wrong)
    }
}

pub(super) fn boolean(text: &str) -> Parsed<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(plainly_wrong()),
    }
}

/// A whole number of seconds, minutes or hours (`300s`, `5m`, `1h`); a bare number counts units of `bare_secs`.
pub(super) fn duration(
    bare_secs: u64,
    allowed_secs: RangeInclusive<u64>,
) -> impl Fn(&str) -> Parsed<Duration> {
    move |text| {
        let end = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (count, unit) = text.split_at(end);
        let unit_secs = match unit.trim() {
            "" => bare_secs,
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            _ => return Err(plainly_wrong()),
        };
        let count: Option<u64> = count.parse().ok();
        count
            .and_then(|count| count.checked_mul(unit_secs))
            .filter(|secs| allowed_secs.contains(secs))
            .map(Duration::from_secs)
            .ok_or_else(plainly_wrong)
    }
}

pub(super) fn whole_minutes(text: &str) -> Parsed<Duration> {
    let value = duration(60, 60..=86_400)(text)?;
    if value.as_secs().is_multiple_of(60) {
        Ok(value)
    } else {
        Err("not a whole number of minutes".to_owned())
    }
}

fn list<T: PartialEq>(text: &str, one: impl Fn(&str) -> Parsed<T>) -> Parsed<Vec<T>> {
    let mut values = Vec::new();
    for part in text.split(',').map(str::trim) {
        if part.is_empty() {
            return Err("an empty place between commas".to_owned());
        }
        let value = one(part).map_err(|why| match why.as_str() {
            "" => format!("not '{}'", shortened(&masked(part))),
            _ => why,
        })?;
        if values.contains(&value) {
            return Err(format!("'{}' stands twice", shortened(part)));
        }
        values.push(value);
    }
    Ok(values)
}

pub(super) fn symbols(text: &str) -> Parsed<Vec<Symbol>> {
    list(text, |part| {
        Symbol::parse_any_case(part).map_err(|bad| bad.to_string())
    })
}

pub(super) fn intervals(text: &str) -> Parsed<Vec<Interval>> {
    list(text, |part| {
        Interval::parse(part).map_err(|_| plainly_wrong())
    })
}

pub(super) fn networks(text: &str) -> Parsed<Vec<Network>> {
    list(text, |part| {
        let (address, prefix) = match part.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (part, None),
        };
        let address: IpAddr = from_str(address)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix_len = prefix.map_or(Ok(longest), number(0..=longest))?;
        Ok(Network {
            address,
            prefix_len,
        })
    })
}

pub(super) fn origins(text: &str) -> Parsed<Vec<String>> {
    list(text, |part| {
        if part == "*" {
            return Ok(part.to_owned());
        }
        let url: reqwest::Url = from_str(part)?;
        let origin = url.origin().ascii_serialization();
        let web = matches!(url.scheme(), "http" | "https");
        // Anything behind the port would never match what a browser sends.
        let bare = part.trim_end_matches('/').matches('/').count() == 2 && url.query().is_none();
        let plain = bare && url.fragment().is_none() && !part.contains('@');
        (web && plain).then_some(origin).ok_or_else(plainly_wrong)
    })
}

pub(super) fn host(text: &str) -> Parsed<String> {
    let address = text.parse::<IpAddr>().is_ok();
    let name = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    (address || name)
        .then(|| text.to_owned())
        .ok_or_else(plainly_wrong)
}

pub(super) fn cluster_nodes(text: &str) -> Parsed<Vec<String>> {
    list(text, |part| {
        let (name, port) = part.rsplit_once(':').ok_or_else(plainly_wrong)?;
        number(1..=65_535_u16)(port)?;
        host(name.trim_matches(['[', ']']))?;
        Ok(part.to_owned())
    })
}

/// A URL of one of `schemes` that carries nothing but scheme, host, port and path; without the `/` at its end.
pub(super) fn plain_url(schemes: &'static [&'static str]) -> impl Fn(&str) -> Parsed<String> {
    move |text| {
        let url: reqwest::Url = from_str(text)?;
        // An unescaped `/` in a password ends the host early, so an `@` anywhere is a login.
        let plain = !text.contains('@') && url.query().is_none() && url.fragment().is_none();
        let fits = plain && url.has_host() && schemes.contains(&url.scheme());
        fits.then(|| text.trim_end_matches('/').to_owned())
            .ok_or_else(plainly_wrong)
    }
}

pub(super) fn secret_url(schemes: &'static [&'static str]) -> impl Fn(&str) -> Parsed<Secret> {
    move |text| {
        let url: reqwest::Url = from_str(text)?;
        (url.has_host() && schemes.contains(&url.scheme()))
            .then(|| Secret::new(text))
            .ok_or_else(plainly_wrong)
    }
}

/// A proxy's URL. Which of its parts the protocols can carry is the exchange's room to say. An unescaped `/`, `?` or `#` in
/// a password ends the host early, and the rest of the password would be taken for a path, the user for a host.
pub(super) fn proxy_url(text: &str) -> Parsed<Secret> {
    const ESCAPE: &str = "write /, ? and # in a password as %2F, %3F, %23";
    let url = text.parse::<reqwest::Url>();
    let url = url.map_err(|_| format!("it is no URL; {ESCAPE}"))?;
    let is_bare = matches!(url.path(), "" | "/");
    match url.scheme() {
        "http" | "socks5" | "socks5h"
            if !is_bare || url.query().is_some() || url.fragment().is_some() =>
        {
            Err(format!("it has a path, a query or a fragment; {ESCAPE}"))
        }
        "http" | "socks5" | "socks5h" if url.has_host() => Ok(Secret::new(text)),
        "https" => Err("https:// proxies (TLS to the proxy itself) are not supported".to_owned()),
        _ => Err(plainly_wrong()),
    }
}

/// A text as it may be repeated: what stands before an `@` may be a password, wherever the host was meant to begin.
pub(super) fn masked(text: &str) -> String {
    let Some((login, host)) = text.rsplit_once('@') else {
        return text.to_owned();
    };
    let scheme = login.split_inclusive("://").next();
    let scheme = scheme.filter(|scheme| scheme.ends_with("://"));
    format!("{}***@{host}", scheme.unwrap_or_default())
}

/// A URL with a login as it may be shown: nothing of the login, some services take a token as the user.
pub(super) fn without_login(text: &str) -> String {
    let Ok(url) = text.parse::<reqwest::Url>() else {
        return "***".to_owned();
    };
    let login = match (url.username(), url.password()) {
        ("", None) => "",
        _ => "***@",
    };
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    let host = url.host_str().unwrap_or_default();
    format!("{}://{login}{host}{port}", url.scheme())
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "a parser like the others: any text is a password"
)]
pub(super) fn any_secret(text: &str) -> Parsed<Secret> {
    Ok(Secret::new(text))
}

/// A secret that can stand in an HTTP header.
pub(super) fn token(text: &str) -> Parsed<Secret> {
    let graphic = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    graphic.then(|| Secret::new(text)).ok_or_else(plainly_wrong)
}

pub(super) fn api_keys(text: &str) -> Parsed<Vec<ApiKey>> {
    let mut keys: Vec<ApiKey> = Vec::new();
    for (place, pair) in text.split(',').map(str::trim).enumerate() {
        let pair = pair.split_once(':').filter(|(name, _)| !name.is_empty());
        let (name, key) = pair.ok_or_else(|| format!("pair {} is no name:secret", place + 1))?;
        let key = token(key).map_err(|_| format!("the secret of '{}'", shortened(name)))?;
        if keys.iter().any(|known| known.name == name) {
            return Err(format!("'{}' stands twice", shortened(name)));
        }
        keys.push(ApiKey {
            name: name.to_owned(),
            key,
        });
    }
    Ok(keys)
}

pub(super) fn base_path(text: &str) -> Parsed<String> {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.' | '~');
    let fits = text.starts_with('/')
        && !text.ends_with('/')
        && !text.contains("//")
        && !text.split('/').any(|part| part == "." || part == "..")
        && text.chars().all(safe);
    fits.then(|| text.to_owned()).ok_or_else(plainly_wrong)
}

pub(super) fn log_filter(text: &str) -> Parsed<String> {
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(why) => Err(why.to_string()),
    }
}

pub(super) fn log_format(text: &str) -> Parsed<LogFormat> {
    match text.to_ascii_lowercase().as_str() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(plainly_wrong()),
    }
}

/// Text of a user for a message: one line, not too long.
pub(super) fn shortened(text: &str) -> String {
    const SHOWN: usize = 80;
    let mut shown: String = text
        .chars()
        .take(SHOWN)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}
