//! Binance USD-M futures: closed candles and listings over REST within one weight budget, live candles over streams.
//! Every request is charged before it is sent; every row and event is checked before anybody sees it.
//! What the exchange was seen to do, with sources, is in docs/exchange.md; hazard numbers are that list's.

mod client;
mod decimal;
mod klines;
mod listing;
#[cfg(test)]
mod mutate;
mod rest;
mod row;
mod stream;
mod tls;
mod url;
mod weight;

use std::sync::Arc;
use std::time::Duration;

use self::rest::Rest;
use super::refusal::Served;
use super::{
    CandleRequest, Contract, ExchangeError, FeedSender, Proxy, Refusal, RefusedCounts, RefusedRows,
    Rows, ServerTime, Side, Streams, Ticker,
};
use crate::clock::{ExchangeClock, Mono};
use crate::exchange::way::Way;
use crate::market::{Candle, TimeMs};
use crate::tasks::Tasks;

/// Where the exchange is and how long we wait for it.
#[derive(Debug, Clone, PartialEq)]
pub struct BinanceSettings {
    /// `http(s)://host[:port]`.
    pub rest_url: String,
    /// `ws(s)://host[:port]`; a URL that already ends in `/market` is taken too (hazard 8).
    pub ws_url: String,
    /// Through which both are reached; never past it.
    pub proxy: Option<Proxy>,
    /// All waits.
    pub times: Times,
}

impl Default for BinanceSettings {
    fn default() -> Self {
        Self {
            rest_url: "https://fapi.binance.com".into(),
            ws_url: "wss://fstream.binance.com".into(),
            proxy: None,
            times: Times::default(),
        }
    }
}

/// How long we wait for what; all in our own time, however fast the exchange's clock runs, but for `rotate_*`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Times {
    /// To connect, a proxy's tunnel included; REST's TLS has as long again.
    pub connect: Duration,
    /// For a whole answer, REST, connecting and body included (hazard 32).
    pub answer: Duration,
    /// For a stream's handshake, TLS included.
    pub handshake: Duration,
    /// For the answer to a SUBSCRIBE.
    pub ack: Duration,
    /// Between two pings on a stream.
    pub ping_every: Duration,
    /// Without a frame of any kind, after which a stream is dead (hazard 9).
    pub silence: Duration,
    /// For the first candle since the start, several series being acknowledged: beyond that an alarm is raised (hazard 8).
    pub first_candle: Duration,
    /// Between two new connections, whoever opens them: 300 connects in 5 minutes is Spot's limit, assumed here too.
    pub connect_gap: Duration,
    /// Between two messages of one connection: 10 per second are allowed, 40 at once were punished (hazard 13).
    pub message_gap: Duration,
    /// First and last wait before a reconnect.
    pub reconnect: (Duration, Duration),
    /// Least wait before a reconnect after close code 1008: we broke a rule, and breaking it again soon can earn a ban.
    pub after_policy: Duration,
    /// Age at which a connection is replaced, in the exchange's time: it cuts them after 24 h (hazard 11).
    pub rotate_after: Duration,
    /// Up to that much earlier, so that not all are replaced in the same minute; in the exchange's time.
    pub rotate_spread: Duration,
    /// How long a connection that is to take over may wait for the first candle of its last series.
    pub prove: Duration,
    /// Between two attempts of a connection to heal its mute series (hazard 10), and the longest wait before it asks again
    /// for names that were refused.
    pub heal_every: Duration,
    /// Between two questions whether we are served again, after a 403 or 451; one for REST and one for streams.
    pub after_refusal: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(10),
            handshake: Duration::from_secs(10),
            ack: Duration::from_secs(10),
            ping_every: Duration::from_secs(20),
            silence: Duration::from_secs(30),
            first_candle: Duration::from_secs(5),
            connect_gap: Duration::from_secs(1),
            message_gap: Duration::from_millis(250),
            reconnect: (Duration::from_millis(500), Duration::from_secs(30)),
            after_policy: Duration::from_secs(10),
            rotate_after: Duration::from_secs(23 * 3_600),
            rotate_spread: Duration::from_secs(3_600),
            prove: Duration::from_secs(10),
            heal_every: Duration::from_secs(300),
            after_refusal: Duration::from_secs(60),
        }
    }
}

/// The exchange; clones share budget, connections and clock.
#[derive(Debug, Clone)]
pub struct Binance(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    rest: Rest,
    streams: Arc<stream::Host>,
    times: Times,
    clock: ExchangeClock,
    refused: RefusedCounts,
}

impl Binance {
    /// Sets up the clients; connects nowhere yet. `clock` decides which minute's budget is spent and what is closed:
    /// the caller sets it from `server_time`, streams only push it forward.
    ///
    /// # Errors
    /// `BadUrl` for a URL that cannot be one of the exchange, `Tls` when that cannot be set up.
    pub fn new(settings: &BinanceSettings, clock: ExchangeClock) -> Result<Self, ExchangeError> {
        let base = url::rest_base(&settings.rest_url)?;
        let times = settings.times;
        let way = Arc::new(match &settings.proxy {
            Some(proxy) => Way::through(proxy.clone(), times.after_refusal),
            None => Way::Straight,
        });
        let tls = tls::client_config().map_err(|source| ExchangeError::Tls { source })?;
        let target = url::stream_target(&settings.ws_url)?;
        let streams = stream::Host {
            served: Served::new(Side::Streams, target.host.clone(), times.after_refusal),
            quiet: Served::new(Side::Streams, target.host.clone(), times.after_refusal),
            target,
            way: Arc::clone(&way),
            tls: Arc::new(tls.clone()),
        };
        Ok(Self(Arc::new(Shared {
            rest: Rest::new(base, way, tls, times, clock.clone()),
            streams: Arc::new(streams),
            times,
            clock,
            refused: RefusedCounts::default(),
        })))
    }

    /// The exchange's time.
    ///
    /// # Errors
    /// As `Exchange::server_time`.
    pub async fn server_time(&self) -> Result<ServerTime, ExchangeError> {
        listing::server_time(&self.0.rest).await
    }

    /// All listed contracts.
    ///
    /// # Errors
    /// As `Exchange::contracts`.
    pub async fn contracts(&self) -> Result<Rows<Contract>, ExchangeError> {
        listing::contracts(&self.0.rest).await
    }

    /// The last 24 hours of all trading contracts.
    ///
    /// # Errors
    /// As `Exchange::tickers`.
    pub async fn tickers(&self) -> Result<Rows<Ticker>, ExchangeError> {
        listing::tickers(&self.0.rest).await
    }

    /// Closed candles.
    ///
    /// # Errors
    /// As `Exchange::candles`.
    pub async fn candles(&self, request: &CandleRequest) -> Result<Vec<Candle>, ExchangeError> {
        let answer = klines::candles(&self.0.rest, request).await;
        if let Err(ExchangeError::BadRow { reason, .. }) = &answer {
            self.0.refused.count(reason);
        }
        answer
    }

    /// Refused rows of REST answers, by kind.
    pub fn refused_rows(&self) -> RefusedRows {
        self.0.refused.so_far()
    }

    /// Weight spent in the current minute.
    pub fn weight_used(&self) -> u32 {
        self.0.rest.weight_used()
    }

    /// Until when we must be quiet.
    pub fn held_until(&self) -> Option<TimeMs> {
        self.0.rest.held_until()
    }

    /// As `held_until`, by our own clock.
    pub fn quiet_until(&self) -> Option<Mono> {
        self.0.rest.quiet_until()
    }

    /// Sends nothing for so long: so the exchange wanted it before this start.
    pub fn hold_for(&self, quiet: Duration) {
        self.0.rest.hold_for(quiet);
    }

    /// Starts the streams.
    pub fn streams(&self, tasks: &Tasks, feed: FeedSender) -> Streams {
        let shared = &self.0;
        let host = Arc::clone(&shared.streams);
        stream::start(host, shared.times, shared.clock.clone(), tasks, feed)
    }

    /// The refusal that stands: of requests, else of streams.
    pub fn refusal(&self) -> Option<Refusal> {
        let shared = &self.0;
        let of_streams = || shared.streams.served.refusal();
        shared.rest.refusal().or_else(of_streams)
    }
}
