//! One GET: charged before it is sent, its status judged before its body is read, its body bounded in size and time.
//! Knows the exchange's ways of saying no; what a good body means is `klines`' and `listing`'s.

use std::sync::{Mutex, MutexGuard, PoisonError};

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use serde::Deserialize;

use super::Times;
use super::weight::{Budget, next_minute};
use crate::clock::ExchangeClock;
use crate::exchange::ExchangeError;
use crate::market::TimeMs;

/// The largest right answer, `exchangeInfo`, is 1.2 MB unpacked; also the guard against a gzip bomb.
const BODY_MAX: usize = 16 * 1024 * 1024;
/// Of an error's body only the beginning is of interest.
const ERROR_BODY_MAX: usize = 16 * 1024;
const MESSAGE_CHARS: usize = 200;
/// The shortest documented ban, taken when a 418 does not say how long.
const BAN_MS: i64 = 120_000;
/// The longest documented ban: 3 days.
const BAN_MAX_MS: f64 = 3.0 * 24.0 * 3_600_000.0;
const WEIGHT_HEADER: &str = "x-mbx-used-weight-1m";

/// The REST side; one for the process, since the budget is.
#[derive(Debug)]
pub(super) struct Rest {
    client: Client,
    base: Url,
    times: Times,
    clock: ExchangeClock,
    budget: Mutex<Budget>,
}

/// One call: what, with which parameters, at which price.
pub(super) struct Call<'a> {
    pub(super) path: &'static str,
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) weight: u32,
}

#[derive(Debug, Default, Deserialize)]
struct ErrorBody {
    code: Option<i64>,
    #[serde(default)]
    msg: String,
}

impl Rest {
    pub(super) fn new(
        base: Url,
        mut tls: rustls::ClientConfig,
        times: Times,
        clock: ExchangeClock,
    ) -> Result<Self, ExchangeError> {
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(concat!("hamacast/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(times.connect)
            .timeout(times.answer)
            .redirect(redirect::Policy::none())
            .no_proxy() // a proxy is a setting of ours, never a guess from the environment (hazard 31)
            .build()
            .map_err(|source| ExchangeError::Client { source })?;
        Ok(Self {
            client,
            base,
            times,
            clock,
            budget: Mutex::new(Budget::default()),
        })
    }

    /// The exchange's clock.
    pub(super) fn clock(&self) -> &ExchangeClock {
        &self.clock
    }

    pub(super) fn weight_used(&self) -> u32 {
        self.budget().used(self.counting_time())
    }

    pub(super) fn held_until(&self) -> Option<TimeMs> {
        self.budget().held_until(self.clock.now())
    }

    /// The body of a good answer.
    pub(super) async fn get(&self, call: &Call<'_>) -> Result<Vec<u8>, ExchangeError> {
        let path = call.path;
        let sent = self.charge(call.weight)?;
        let answer = self.client.get(self.url(call)).send().await;
        let counted = answer.as_ref().ok().and_then(counted_weight);
        self.budget()
            .answered(call.weight, counted, sent, self.counting_time());
        let response = answer.map_err(|error| self.broken(path, error))?;
        let status = response.status();
        if status == StatusCode::OK {
            return self.body(path, response, BODY_MAX).await;
        }
        Err(self.refusal(path, response).await)
    }

    /// A minute begins for us when it has surely begun for the exchange: too early, and a request lands in the old one.
    fn counting_time(&self) -> TimeMs {
        self.clock.now().plus_ms(-self.clock.error_ms())
    }

    fn charge(&self, weight: u32) -> Result<TimeMs, ExchangeError> {
        let now = self.counting_time();
        match self.budget().try_charge(weight, now) {
            Ok(()) => Ok(now),
            Err(retry_at) => Err(ExchangeError::BudgetSpent {
                retry_at: retry_at.plus_ms(self.clock.error_ms()),
            }),
        }
    }

    fn url(&self, call: &Call<'_>) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!(
            "{}{}",
            self.base.path().trim_end_matches('/'),
            call.path
        ));
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(call.query); // percent-encodes UTF-8 (hazard 27)
        }
        url
    }

    async fn body(
        &self,
        path: &'static str,
        mut response: Response,
        limit_bytes: usize,
    ) -> Result<Vec<u8>, ExchangeError> {
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| self.broken(path, error))?
        {
            if body.len() + chunk.len() > limit_bytes {
                return Err(ExchangeError::TooLarge { path, limit_bytes });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// Headers first: the hold must stand even if the body never comes.
    async fn refusal(&self, path: &'static str, response: Response) -> ExchangeError {
        let status = response.status().as_u16();
        let held = matches!(status, 418 | 429).then(|| {
            let until = self.quiet_until(status, response.headers());
            self.hold(until)
        });
        let text = self.error_text(path, response).await;
        let body: ErrorBody = serde_json::from_str(&text).unwrap_or_default();
        let message: String = if body.msg.is_empty() {
            text.chars().take(MESSAGE_CHARS).collect()
        } else {
            body.msg.chars().take(MESSAGE_CHARS).collect()
        };
        if held.is_some() || body.code == Some(-1003) {
            let until = held
                .unwrap_or_else(|| next_minute(self.clock.now()))
                .max(banned_until(&message).unwrap_or_default());
            return ExchangeError::Limited {
                path,
                status,
                retry_at: self.hold(until),
            };
        }
        self.said_no(path, status, body.code, message)
    }

    fn said_no(
        &self,
        path: &'static str,
        status: u16,
        code: Option<i64>,
        message: String,
    ) -> ExchangeError {
        // Internal error, unexpected answer, timeout, overload: the exchange's, whatever the status.
        let its_own = matches!(code, Some(-1000 | -1001 | -1006 | -1007 | -1008));
        match status {
            403 | 451 => ExchangeError::NotServed {
                host: self.host(),
                path,
                status,
                message,
            },
            408 | 500.. => ExchangeError::Unavailable {
                path,
                status,
                code,
                message,
            },
            400..500 if !its_own => ExchangeError::Refused {
                path,
                status,
                code,
                message,
            },
            _ => ExchangeError::Unavailable {
                path,
                status,
                code,
                message,
            },
        }
    }

    /// Holds all requests, but not for longer than the longest ban: a mad number must not silence us for years.
    fn hold(&self, until: TimeMs) -> TimeMs {
        let now = self.clock.now();
        let until = until.min(now.plus_ms((BAN_MAX_MS * self.clock.speed()) as i64));
        self.budget().hold(until, now);
        until
    }

    async fn error_text(&self, path: &'static str, response: Response) -> String {
        match self.body(path, response, ERROR_BODY_MAX).await {
            Ok(body) => String::from_utf8_lossy(&body).into_owned(),
            Err(error) => error.to_string(),
        }
    }

    /// `Retry-After` counts real seconds as HTTP has it; without one the next minute must do, or the shortest ban.
    fn quiet_until(&self, status: u16, headers: &HeaderMap) -> TimeMs {
        let now = self.clock.now();
        let speed = self.clock.speed();
        let seconds = headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.trim().parse::<u32>().ok());
        match seconds {
            Some(seconds) => now.plus_ms((f64::from(seconds.max(1)) * 1_000.0 * speed) as i64),
            None if status == 418 => now.plus_ms((BAN_MS as f64 * speed) as i64),
            None => next_minute(now).plus_ms(self.clock.error_ms()),
        }
    }

    fn broken(&self, path: &'static str, error: reqwest::Error) -> ExchangeError {
        if error.is_timeout() {
            return ExchangeError::TimedOut {
                path,
                limit: self.times.answer,
            };
        }
        ExchangeError::Unreachable {
            host: self.host(),
            path,
            source: error.without_url(),
        }
    }

    fn host(&self) -> String {
        self.base.host_str().unwrap_or_default().to_owned()
    }

    fn budget(&self) -> MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn counted_weight(response: &Response) -> Option<u32> {
    let text = response.headers().get(WEIGHT_HEADER)?.to_str().ok()?;
    text.trim().parse().ok()
}

/// "Way too many requests; IP banned until 1791383675683." names the instant; a ban can last 3 days.
fn banned_until(message: &str) -> Option<TimeMs> {
    let (_, after) = message.split_once("banned until ")?;
    let digits = after.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok().map(TimeMs::new)
}
