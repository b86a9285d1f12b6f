//! REST requests from the budget to the response: what is charged, what answers, what a fault makes of it.
//! Every answer leaves through `finish`, which compresses and counts it. What lies under `/sim` is nobody's budget and
//! is struck by no fault.

use std::io::Write as _;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError};

use axum::body::{Body, Bytes};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::World;
use super::fault::{self, Phase, Place, RestFault, Strike, TransportFault};
use super::line::LineControl;
use super::rest::{Endpoint, Params, Refusal};
use super::server::params_of;
use super::spoil::{self, Told};
use super::weights::Verdict;
use crate::market::{Interval, TimeMs};

/// Below this a body is sent as it is.
const GZIP_FROM_BYTES: usize = 1_024;
const USED_WEIGHT: &str = "x-mbx-used-weight-1m";

/// The connection ends instead of an answer.
#[derive(Debug, thiserror::Error)]
#[error("cut by a fault")]
pub(super) struct Cut;

/// What is to be sent.
#[derive(Debug, Default)]
pub(super) struct Reply {
    status: u16,
    text: String,
    /// Not the exchange's JSON.
    is_html: bool,
    retry_after_secs: Option<i64>,
    used_weight: Option<u32>,
}

/// A fault as it meets a request.
#[derive(Debug)]
enum Harm {
    Rest(RestFault),
    Slow(u64),
}

/// How a request ends without an answer of the exchange.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    Status {
        status: u16,
        retry_after_secs: Option<u32>,
    },
    HeldBack(Phase),
    Reset,
}

/// What faults do to one request.
#[derive(Debug, Default)]
struct Plan {
    /// The first fault that leaves nothing of the answer.
    outcome: Option<Strike<Outcome>>,
    weight_of_others: u32,
    lag_ms: i64,
    ignores_end: bool,
    bytes_per_second: Option<u64>,
    /// What happens to the body, in order.
    spoils: Vec<RestFault>,
}

/// Answers a REST request.
pub(super) async fn rest(
    request: Request<Incoming>,
    client: IpAddr,
    line: &Arc<LineControl>,
    world: &Arc<World>,
) -> Result<Response<Body>, Cut> {
    if !world.settings.latency.is_zero() {
        tokio::time::sleep(world.settings.latency).await;
    }
    let path = request.uri().path();
    let now = world.clock.now();
    if path == "/sim/fault" {
        world.stats.request(client, path, None, now.ms());
        let (parts, body) = request.into_parts();
        let head = Request::from_parts(parts.clone(), ());
        let answer = fault::door::answer(&parts.method, body, world).await;
        return Ok(finish(Reply::of(answer, None), &head, client, world));
    }
    let endpoint = Endpoint::at(path).filter(|_| request.method() == Method::GET);
    let Some(endpoint) = endpoint else {
        world.stats.request(client, path, None, now.ms());
        return Ok(refused(Refusal::no_path(), &request, client, world));
    };
    let mut params = params_of(request.uri().query().unwrap_or(""));
    let plan = Plan::of(strikes(endpoint, path, &params, now, world));
    line.slow_to(plan.bytes_per_second);
    let verdict = endpoint.weight(&params, world).map(|weight| {
        let mut budgets = world.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        budgets.spend_for_others(client, plan.weight_of_others, now);
        budgets.charge(client, weight, now)
    });
    world.stats.request(client, path, verdict, now.ms());
    if let Some(struck) = &plan.outcome {
        return lost(struck, &request, client, verdict, line, world).await;
    }
    if plan.ignores_end {
        params.0.retain(|(name, _)| name != "endTime");
    }
    let answer = match verdict {
        Some(verdict @ (Verdict::Limited { .. } | Verdict::Banned { .. })) => Err(refusal(verdict)),
        Some(Verdict::Served { .. }) | None => {
            endpoint.answer(&params, world, world.clock.now().plus_ms(-plan.lag_ms))
        }
    };
    Ok(sent(answer, &plan.spoils, &request, client, verdict, world).await)
}

/// A refusal of what cannot be asked.
pub(super) fn refused<B>(
    refusal: Refusal,
    request: &Request<B>,
    client: IpAddr,
    world: &World,
) -> Response<Body> {
    finish(Reply::of(Err(refusal), None), request, client, world)
}

/// What strikes a request, of the faults of REST and of slow bytes.
fn strikes(
    endpoint: Endpoint,
    path: &str,
    params: &Params,
    now: TimeMs,
    world: &World,
) -> Vec<Strike<Harm>> {
    if endpoint.is_of_the_simulator() {
        return Vec::new();
    }
    let name = params.get("symbol").or_else(|| params.get("pair"));
    let symbol = name.and_then(|name| crate::market::Symbol::parse_any_case(name).ok());
    let interval = params
        .get("interval")
        .and_then(|text| Interval::parse(text).ok());
    // By what is asked: which of many requests in flight comes first does not change what strikes.
    let series = interval.map_or("", Interval::name);
    let key = format!(
        "{path} {} {series}",
        symbol.as_ref().map_or("", |symbol| symbol.as_str())
    );
    let place = Place {
        path: Some(path),
        symbol,
        interval,
        ..Place::default()
    };
    world.faults.strike(now, &place, &key, |kind| {
        let slow = kind.transport().and_then(TransportFault::bytes_per_second);
        slow.map(Harm::Slow)
            .or_else(|| kind.rest().cloned().map(Harm::Rest))
    })
}

impl Plan {
    fn of(strikes: Vec<Strike<Harm>>) -> Self {
        let mut plan = Self::default();
        for Strike { number, what } in strikes {
            match what {
                Harm::Slow(bytes_per_second) => plan.bytes_per_second = Some(bytes_per_second),
                Harm::Rest(fault) => plan.add(number, fault),
            }
        }
        plan
    }

    fn add(&mut self, number: u64, what: RestFault) {
        match what {
            RestFault::Status {
                status,
                retry_after_secs,
            } => self.end_in(
                number,
                Outcome::Status {
                    status,
                    retry_after_secs,
                },
            ),
            RestFault::Timeout { when } => self.end_in(number, Outcome::HeldBack(when)),
            RestFault::Reset {} => self.end_in(number, Outcome::Reset),
            RestFault::Weight { weight } => {
                self.weight_of_others = self.weight_of_others.saturating_add(weight);
            }
            RestFault::Lag { lag_ms } => self.lag_ms = self.lag_ms.max(lag_ms),
            RestFault::OpenRow {} => self.ignores_end = true,
            RestFault::Truncate {}
            | RestFault::Malformed {}
            | RestFault::WrongTypes {}
            | RestFault::Empty {}
            | RestFault::WrongOrder {}
            | RestFault::Oversized { .. } => self.spoils.push(what),
        }
    }

    fn end_in(&mut self, number: u64, what: Outcome) {
        self.outcome.get_or_insert(Strike { number, what });
    }
}

/// A request whose answer a fault has taken altogether.
async fn lost(
    struck: &Strike<Outcome>,
    request: &Request<Incoming>,
    client: IpAddr,
    verdict: Option<Verdict>,
    line: &Arc<LineControl>,
    world: &Arc<World>,
) -> Result<Response<Body>, Cut> {
    match struck.what {
        Outcome::Status {
            status,
            retry_after_secs,
        } => {
            let now = world.clock.now();
            told_to_stop(status, retry_after_secs, client, now, world);
            let mut reply = Reply::from(spoil::refusal(status, retry_after_secs, now));
            // What stands before the exchange does not know the weight.
            reply.used_weight = verdict
                .map(Verdict::used)
                .filter(|_| !matches!(status, 403 | 451));
            return Ok(finish(reply, request, client, world));
        }
        Outcome::HeldBack(Phase::AfterHeaders) => {
            let (of_wait, number, line) = (Arc::clone(world), struck.number, Arc::clone(line));
            let wait = async move {
                spoil::until_over(&of_wait, number).await;
                line.reset_at_end();
            };
            let reply = Reply::of(Ok("{}".to_owned()), verdict);
            let response = finish(reply, request, client, world);
            return Ok(spoil::headless_body(response, wait));
        }
        Outcome::HeldBack(Phase::BeforeHeaders) => spoil::until_over(world, struck.number).await,
        Outcome::Reset => {}
    }
    line.reset_at_end();
    Err(Cut)
}

/// Keeps the books on a client that was told to stop.
fn told_to_stop(
    status: u16,
    retry_after_secs: Option<u32>,
    client: IpAddr,
    now: TimeMs,
    world: &World,
) {
    let until = retry_after_secs.map(|secs| now.plus_ms(i64::from(secs) * 1_000));
    match status {
        403 | 451 => world.stats.forbidden(client),
        418 => {
            let until = until.unwrap_or(now);
            let mut budgets = world.budgets.lock().unwrap_or_else(PoisonError::into_inner);
            budgets.ban(client, until);
            world.stats.told_to_stop(client, until);
        }
        429 => world.stats.told_to_stop(client, until.unwrap_or(now)),
        _ => {}
    }
}

async fn sent(
    answer: Result<String, Refusal>,
    spoils: &[RestFault],
    request: &Request<Incoming>,
    client: IpAddr,
    verdict: Option<Verdict>,
    world: &World,
) -> Response<Body> {
    let text = match answer {
        Ok(text) if !spoils.is_empty() => text,
        Ok(_) | Err(_) => return finish(Reply::of(answer, verdict), request, client, world),
    };
    let text = spoils.iter().fold(text, spoil::spoiled);
    let reply = Reply::of(Ok(text.clone()), verdict);
    let mut response = finish(reply, request, client, world);
    for fault in spoils {
        if *fault == (RestFault::Truncate {}) {
            response.headers_mut().remove(header::CONTENT_ENCODING);
            response = spoil::truncated(response, &Bytes::from(text.clone()));
        } else if let RestFault::Oversized { bytes, wrapping } = fault {
            response = spoil::oversized(response, text.clone(), *bytes, *wrapping).await;
        }
    }
    response
}

fn refusal(verdict: Verdict) -> Refusal {
    match verdict {
        Verdict::Banned { until, .. } => Refusal {
            status: 418,
            code: -1003,
            message: format!(
                "Way too many requests; IP banned until {until}. Please use the websocket for live updates to avoid bans."
            ),
        },
        Verdict::Limited { .. } | Verdict::Served { .. } => Refusal {
            status: 429,
            code: -1003,
            message: "Too many requests; current limit is 2400 requests per minute. Please use the websocket for live updates to avoid polling the API.".into(),
        },
    }
}

impl Reply {
    fn of(answer: Result<String, Refusal>, verdict: Option<Verdict>) -> Self {
        let (status, text) = match answer {
            Ok(text) => (200, text),
            Err(refusal) => (refusal.status, refusal.body()),
        };
        Self {
            status,
            text,
            is_html: false,
            retry_after_secs: verdict.and_then(Verdict::retry_after_secs),
            used_weight: verdict.map(Verdict::used),
        }
    }
}

impl From<Told> for Reply {
    fn from(told: Told) -> Self {
        Self {
            status: told.refusal.status,
            is_html: told.html.is_some(),
            text: told.html.unwrap_or_else(|| told.refusal.body()),
            retry_after_secs: told.retry_after_secs.map(i64::from),
            used_weight: None,
        }
    }
}

/// Makes the response: status, headers, compression, counts.
pub(super) fn finish<B>(
    reply: Reply,
    request: &Request<B>,
    client: IpAddr,
    world: &World,
) -> Response<Body> {
    let zipped = accepts_gzip(request.headers())
        .then(|| gzip(&reply.text))
        .flatten();
    let is_zipped = zipped.is_some();
    let body = zipped.unwrap_or_else(|| reply.text.into_bytes());
    world.stats.answered(client, reply.status, body.len());
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::BAD_REQUEST);
    let headers = response.headers_mut();
    let content = if reply.is_html {
        "text/html"
    } else {
        "application/json;charset=UTF-8"
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content));
    if is_zipped {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if let Some(used) = reply.used_weight {
        headers.insert(USED_WEIGHT, HeaderValue::from(used));
    }
    if let Some(secs) = reply.retry_after_secs {
        // It counts the client's seconds, as HTTP has it, however fast the exchange's clock runs.
        let secs = (secs as f64 / world.clock.speed()).ceil() as i64;
        headers.insert(header::RETRY_AFTER, HeaderValue::from(secs));
    }
    response
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.to_ascii_lowercase().contains("gzip"))
}

fn gzip(text: &str) -> Option<Vec<u8>> {
    if text.len() < GZIP_FROM_BYTES {
        return None;
    }
    let room = Vec::with_capacity(text.len() / 3);
    let mut zip = flate2::write::GzEncoder::new(room, flate2::Compression::fast());
    zip.write_all(text.as_bytes()).ok()?;
    zip.finish().ok()
}
