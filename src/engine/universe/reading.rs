//! One reading of the exchange: its time, then the listing, the last 24 hours, or both at once.

use crate::clock::ExchangeClock;
use crate::exchange::{Contract, Exchange, ExchangeError, Rows, Ticker};

/// The exchange counts weight by the minute.
const MINUTE_MS: i64 = 60_000;

/// What is read beside the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// The last 24 hours: weight 40.
    Figures,
    /// The listing: weight 1.
    Listing,
    /// Both.
    Both,
}

impl Scope {
    pub(super) const fn has_figures(self) -> bool {
        matches!(self, Self::Figures | Self::Both)
    }

    pub(super) const fn has_listing(self) -> bool {
        matches!(self, Self::Listing | Self::Both)
    }
}

/// What the exchange answered.
pub(super) struct Reading {
    pub(super) scope: Scope,
    pub(super) simulated: bool,
    pub(super) contracts: Option<Rows<Contract>>,
    pub(super) tickers: Option<Rows<Ticker>>,
}

/// Asks for the time, which is the truer the less else is on its way, then for the rest at once. `clock` is set as soon as
/// the time is told: when the rest has come, that answer is seconds old.
///
/// # Errors
/// Of whichever question failed first.
pub(super) async fn read(
    exchange: Exchange,
    clock: ExchangeClock,
    scope: Scope,
) -> Result<Reading, ExchangeError> {
    let before = clock.now();
    let mut time = exchange.server_time().await?;
    clock.set(time.time, time.speed, time.round_trip);
    if clock.now().ms().div_euclid(MINUTE_MS) != before.ms().div_euclid(MINUTE_MS) {
        // What the exchange has counted came with that answer and was booked in another minute: asked once more, it is
        // known before anything dear is sent (hazard 30).
        time = exchange.server_time().await?;
        clock.set(time.time, time.speed, time.round_trip);
    }
    let contracts = async {
        if !scope.has_listing() {
            return Ok(None);
        }
        Ok(Some(exchange.contracts().await?))
    };
    let tickers = async {
        if !scope.has_figures() {
            return Ok(None);
        }
        Ok(Some(exchange.tickers().await?))
    };
    let (contracts, tickers) = tokio::try_join!(contracts, tickers)?;
    Ok(Reading {
        scope,
        simulated: time.simulated,
        contracts,
        tickers,
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::exchange::binance::{Binance, BinanceSettings};

    const TIME: &str = "/fapi/v1/time";

    /// In the middle of a minute, and of none of these years.
    const MID_MINUTE: i64 = 1_899_999_990_000;

    fn exchange(listener: &TcpListener, clock: &ExchangeClock) -> Exchange {
        let settings = BinanceSettings {
            rest_url: format!("http://{}", listener.local_addr().unwrap()),
            ..BinanceSettings::default()
        };
        Exchange::Binance(Binance::new(&settings, clock.clone()).unwrap())
    }

    /// What the next connection asks for.
    async fn asked(listener: &TcpListener) -> (TcpStream, String) {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            asked.push(socket.read_u8().await.unwrap());
        }
        let asked = String::from_utf8(asked).unwrap();
        let path = asked.split(' ').nth(1).unwrap().to_owned();
        (socket, path)
    }

    async fn answer(mut socket: TcpStream, spent: u32, json: &str) {
        let length = json.len();
        let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\nx-mbx-used-weight-1m: {spent}");
        let whole = format!("{head}\r\ncontent-length: {length}\r\n\r\n{json}");
        socket.write_all(whole.as_bytes()).await.unwrap();
    }

    #[tokio::test]
    async fn h29_a_listing_that_comes_late_moves_the_clock_by_nothing() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let clock = ExchangeClock::from_wall();
        let exchange = exchange(&listener, &clock);
        let serving = async {
            let socket = loop {
                let (socket, path) = asked(&listener).await;
                if path != TIME {
                    break socket;
                }
                answer(socket, 1, r#"{"serverTime":1900000000000}"#).await;
            };
            assert!(clock.is_known(), "set while the listing is on its way");
            let asked_at = clock.now();
            while clock.now().ms_since(asked_at) < 50 {
                tokio::task::yield_now().await;
            }
            let aged = clock.now();
            answer(socket, 2, r#"{"symbols":[]}"#).await;
            aged
        };
        let reading = read(exchange, clock.clone(), Scope::Listing);
        let (_, aged) = tokio::join!(reading, serving);
        assert!(clock.now() >= aged, "{} < {aged}", clock.now());
    }

    #[tokio::test]
    async fn h30_in_another_minute_than_ours_the_exchanges_count_is_known_before_anything_dear_is_sent()
     {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let clock = ExchangeClock::from_wall();
        let exchange = exchange(&listener, &clock);
        let mut questions = Vec::new();
        for _ in 0..2 {
            let (mut times, mut spent) = (0, 0);
            let serving = async {
                loop {
                    let (socket, path) = asked(&listener).await;
                    if path != TIME {
                        spent = exchange.weight_used();
                        return answer(socket, 2_104, r#"{"symbols":[]}"#).await;
                    }
                    times += 1;
                    let time = format!(r#"{{"serverTime":{MID_MINUTE}}}"#);
                    answer(socket, 2_100 + times, &time).await;
                }
            };
            let reading = read(exchange.clone(), clock.clone(), Scope::Listing);
            let _ = tokio::join!(reading, serving); // nothing is listed
            assert!(spent >= 2_100, "{spent} are known to be spent");
            questions.push(times);
        }
        assert_eq!(
            questions,
            [2, 1],
            "once more only when it was another minute"
        );
    }
}
