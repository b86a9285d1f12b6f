//! One GET: charged before it is sent, its status judged before its body is read, its body bounded in size and time.
//! Knows the exchange's ways of saying no; what a good body means is `klines`' and `listing`'s.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, HeaderMap, RETRY_AFTER};
use hyper::{Response, StatusCode};
use reqwest::Url;
use serde::Deserialize;

use super::Times;
use super::client::{self, Client};
use super::weight::{Budget, Charged, Instant, MustWait, next_minute};
use crate::clock::{ExchangeClock, Mono};
use crate::exchange::error::Cause;
use crate::exchange::refusal::Served;
use crate::exchange::way::Way;
use crate::exchange::{ExchangeError, Refusal, Side, WayError};
use crate::market::TimeMs;

/// The largest right answer, `exchangeInfo`, is 1.2 MB unpacked; also the guard against a gzip bomb.
const BODY_MAX: usize = 16 * 1024 * 1024;
/// Of an error's body only the beginning is of interest.
const ERROR_BODY_MAX: usize = 16 * 1024;
const MESSAGE_CHARS: usize = 200;
/// The shortest documented ban, taken when a 418 does not say how long.
pub(super) const BAN: Duration = Duration::from_secs(120);
/// The longest documented ban: 3 days. A mad number must not silence us for years.
pub(super) const BAN_MAX: Duration = Duration::from_secs(3 * 24 * 3_600);
const WEIGHT_HEADER: &str = "x-mbx-used-weight-1m";

/// The REST side; one for the process, since the budget is.
#[derive(Debug)]
pub(super) struct Rest {
    client: Client,
    base: Url,
    times: Times,
    clock: ExchangeClock,
    budget: Mutex<Budget>,
    served: Served,
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
        way: Arc<Way>,
        tls: rustls::ClientConfig,
        times: Times,
        clock: ExchangeClock,
    ) -> Self {
        let host = base.host_str().unwrap_or_default().to_owned();
        Self {
            client: client::client(way, tls, times.connect),
            base,
            times,
            clock,
            budget: Mutex::new(Budget::default()),
            served: Served::new(Side::Rest, host, times.after_refusal),
        }
    }

    /// The exchange's clock.
    pub(super) fn clock(&self) -> &ExchangeClock {
        &self.clock
    }

    pub(super) fn weight_used(&self) -> u32 {
        self.budget().used(self.instant())
    }

    pub(super) fn held_until(&self) -> Option<TimeMs> {
        let now = Mono::now();
        let until = self.budget().held_until(now)?;
        Some(self.exchange_time(until, now))
    }

    pub(super) fn quiet_until(&self) -> Option<Mono> {
        self.budget().held_until(Mono::now())
    }

    pub(super) fn hold_for(&self, quiet: Duration) {
        self.hold(quiet);
    }

    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.served.refusal()
    }

    /// The body of a good answer.
    pub(super) async fn get(&self, call: &Call<'_>) -> Result<Vec<u8>, ExchangeError> {
        let path = call.path;
        if let Err(held) = self.served.admit(Mono::now()) {
            let status = held.refusal.status;
            return Err(self.not_served(path, status, held.message, held.again_in));
        }
        let deadline = Deadline::after(self.times.answer);
        let charged = self.charge(call.weight);
        let charged = charged.inspect_err(|_| self.served.unasked(Mono::now()))?;
        let answer = deadline
            .meet(client::get(&self.client, &self.url(call)))
            .await;
        let counted = match &answer {
            Some(Ok(response)) => counted_weight(response),
            Some(Err(_)) | None => None,
        };
        self.budget().answered(charged, counted, self.instant());
        let response = match answer {
            Some(Ok(response)) => response,
            Some(Err(error)) => {
                self.served.unanswered();
                return Err(self.no_answer(path, error));
            }
            None => {
                self.served.unanswered();
                return Err(self.timed_out(path));
            }
        };
        let status = response.status();
        if !matches!(status.as_u16(), 403 | 451) {
            self.served.serve();
        }
        if status == StatusCode::OK {
            return self.body(path, response, BODY_MAX, deadline).await;
        }
        Err(self.refusal_of(path, response, deadline).await)
    }

    /// Now, as far as the exchange's clock is known.
    fn instant(&self) -> Instant {
        let (now, error_ms) = (self.clock.now(), self.clock.error_ms());
        Instant {
            earliest: now.plus_ms(-error_ms),
            latest: now.plus_ms(error_ms),
        }
    }

    fn charge(&self, weight: u32) -> Result<Charged, ExchangeError> {
        let (instant, now) = (self.instant(), Mono::now());
        let charged = self.budget().try_charge(weight, instant, now);
        charged.map_err(|wait| ExchangeError::BudgetSpent {
            retry_at: match wait {
                MustWait::Held(until) => self.exchange_time(until, now),
                // A minute has begun when it has surely begun for the exchange.
                MustWait::Spent(next) => next.plus_ms(self.clock.error_ms()),
            },
        })
    }

    /// The exchange's time at `at`, not before `now`.
    fn exchange_time(&self, at: Mono, now: Mono) -> TimeMs {
        let ahead_ms = at.ms_since(now) as f64 * self.clock.speed();
        self.clock.now().plus_ms(ahead_ms.ceil() as i64)
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
        response: Response<Incoming>,
        limit_bytes: usize,
        deadline: Deadline,
    ) -> Result<Vec<u8>, ExchangeError> {
        let too_large = || ExchangeError::TooLarge { path, limit_bytes };
        let zipped = response
            .headers()
            .get(CONTENT_ENCODING)
            .is_some_and(|encoding| encoding == "gzip");
        let mut rest = response.into_body();
        let mut body = Vec::new();
        while let Some(frame) = deadline
            .meet(rest.frame())
            .await
            .ok_or_else(|| self.timed_out(path))?
        {
            let frame = frame.map_err(|error| self.broken(path, Cause::new(error)))?;
            let chunk = frame.into_data().unwrap_or_default(); // trailers say nothing
            if body.len() + chunk.len() > limit_bytes {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        if !zipped {
            return Ok(body);
        }
        match client::unzipped(&body, limit_bytes) {
            Ok(Some(body)) => Ok(body),
            Ok(None) => Err(too_large()),
            Err(error) => Err(self.broken(path, Cause::new(error))),
        }
    }

    /// Headers first: the hold must stand even if the body never comes.
    async fn refusal_of(
        &self,
        path: &'static str,
        response: Response<Incoming>,
        deadline: Deadline,
    ) -> ExchangeError {
        let status = response.status().as_u16();
        let told = retry_after(response.headers());
        let limited = matches!(status, 418 | 429);
        let is_refused = matches!(status, 403 | 451);
        if limited {
            self.hold(told.unwrap_or_else(|| self.quiet_for(status)));
        }
        if is_refused {
            self.served.hold(status, Mono::now());
        }
        let text = self.error_text(path, response, deadline).await;
        let body: ErrorBody = serde_json::from_str(&text).unwrap_or_default();
        let message: String = if body.msg.is_empty() {
            text.chars().take(MESSAGE_CHARS).collect()
        } else {
            body.msg.chars().take(MESSAGE_CHARS).collect()
        };
        if is_refused {
            self.served.tell(&message);
        }
        if limited || body.code == Some(-1003) {
            let named = banned_until(&message).filter(|_| told.is_none() || self.clock.is_known());
            let banned = named.map(|until| self.real_until(until));
            let least = told.unwrap_or_else(|| self.quiet_for(status));
            return ExchangeError::Limited {
                path,
                status,
                retry_at: self.hold(banned.map_or(least, |banned| banned.max(least))),
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
            403 | 451 => self.not_served(path, status, message, self.times.after_refusal),
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

    /// Holds all requests for so long, real time; until when that is.
    fn hold(&self, quiet: Duration) -> TimeMs {
        let now = Mono::now();
        let quiet_ms = u64::try_from(quiet.min(BAN_MAX).as_millis()).unwrap_or(u64::MAX);
        let until = now.plus_ms(quiet_ms);
        self.budget().hold(until);
        self.exchange_time(until, now)
    }

    async fn error_text(
        &self,
        path: &'static str,
        response: Response<Incoming>,
        deadline: Deadline,
    ) -> String {
        match self.body(path, response, ERROR_BODY_MAX, deadline).await {
            Ok(body) => String::from_utf8_lossy(&body).into_owned(),
            Err(error) => error.to_string(),
        }
    }

    /// How long to be quiet where the exchange does not say: until the next minute, or for the shortest ban.
    fn quiet_for(&self, status: u16) -> Duration {
        match status {
            418 => BAN,
            _ => self.real_until(next_minute(self.clock.now()).plus_ms(self.clock.error_ms())),
        }
    }

    /// How long it is until `time`, real time.
    fn real_until(&self, time: TimeMs) -> Duration {
        let ahead_ms = time.ms_since(self.clock.now()).max(0) as f64;
        Duration::from_secs_f64(ahead_ms / 1_000.0 / self.clock.speed())
    }

    fn not_served(
        &self,
        path: &'static str,
        status: u16,
        message: String,
        again_in: Duration,
    ) -> ExchangeError {
        ExchangeError::NotServed {
            host: self.host(),
            path,
            status,
            message,
            again_in,
        }
    }

    fn no_answer(&self, path: &'static str, error: client::Error) -> ExchangeError {
        match client::way_error(&error) {
            Some(WayError::TimedOut { limit, .. }) => ExchangeError::TimedOut {
                path,
                limit: *limit,
            },
            Some(source @ (WayError::Proxy { .. } | WayError::Held { .. })) => {
                ExchangeError::NoWay {
                    path,
                    source: source.clone(),
                }
            }
            Some(WayError::Unreachable { .. }) | None => self.broken(path, Cause::new(error)),
        }
    }

    fn timed_out(&self, path: &'static str) -> ExchangeError {
        ExchangeError::TimedOut {
            path,
            limit: self.times.answer,
        }
    }

    fn broken(&self, path: &'static str, source: Cause) -> ExchangeError {
        ExchangeError::Unreachable {
            host: self.host(),
            path,
            source,
        }
    }

    fn host(&self) -> String {
        self.base.host_str().unwrap_or_default().to_owned()
    }

    fn budget(&self) -> MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By when the whole answer must be there, from the connection to the last byte of its body (hazard 32).
#[derive(Debug, Clone, Copy)]
struct Deadline(Mono);

impl Deadline {
    fn after(limit: Duration) -> Self {
        Self(Mono::now().plus_ms(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)))
    }

    /// What `work` gives, if it comes in time.
    async fn meet<T>(self, work: impl Future<Output = T>) -> Option<T> {
        let left = Duration::from_millis(self.0.ms_since(Mono::now()));
        tokio::time::timeout(left, work).await.ok()
    }
}

fn counted_weight(response: &Response<Incoming>) -> Option<u32> {
    let text = response.headers().get(WEIGHT_HEADER)?.to_str().ok()?;
    text.trim().parse().ok()
}

/// `Retry-After` counts real seconds, as HTTP has it, however fast the exchange's own clock runs.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    let seconds: u32 = text.trim().parse().ok()?;
    Some(Duration::from_secs(u64::from(seconds.max(1))))
}

/// "Way too many requests; IP banned until 1791383675683." names the instant; a ban can last 3 days.
fn banned_until(message: &str) -> Option<TimeMs> {
    let (_, after) = message.split_once("banned until ")?;
    let digits = after.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok().map(TimeMs::new)
}
