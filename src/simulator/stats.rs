//! What clients did: counts per address and per connection, and every rule they broke. Tests assert that the list of
//! violations of a well-behaved client is empty. Bounded: the oldest ended connections and the violations past the
//! first thousand are only counted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::proxy::ProxyReport;
use super::weights::{LIMIT, Verdict};
use crate::clock::Mono;
use crate::market::TimeMs;

/// Violations and ended connections kept word for word.
const KEPT: usize = 1_000;
/// Unknown stream names kept per connection.
const KEPT_NAMES: usize = 20;
/// Stream connections an address may open in five real minutes.
const CONNECTIONS_PER_WINDOW: usize = 300;
const CONNECTION_WINDOW_MS: u64 = 300_000;
/// Real time within which requests may arrive that were on their way when the client was told to stop.
const ON_ITS_WAY_MS: u64 = 500;

/// Everything counted so far, as `/sim/stats` shows it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct StatsReport {
    /// Sums over all addresses.
    pub totals: Counts,
    /// Per client address.
    pub clients: BTreeMap<String, Counts>,
    /// Per stream connection, oldest first; the last thousand that ended and all that are open.
    pub connections: Vec<ConnectionReport>,
    /// Rules that were broken, oldest first, the first thousand.
    pub violations: Vec<Violation>,
    /// How many rules were broken in all.
    pub violation_count: u64,
    /// Connections that came through the exchange's own proxies.
    pub proxied_connections: u64,
    /// Connections that did not.
    pub direct_connections: u64,
    /// Its proxies.
    pub proxies: Vec<ProxyReport>,
}

/// Counts of one address.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Counts {
    /// REST requests.
    pub requests: u64,
    /// REST requests by path.
    pub requests_by_path: BTreeMap<String, u64>,
    /// REST requests that were answered with a 4xx.
    pub refused: u64,
    /// Highest weight it used in one minute of exchange time; others behind its address do not count.
    pub weight_peak: u32,
    /// Weight it has used in the minute of its last request.
    pub weight_last: u32,
    /// Requests it sent while it was over the limit, or told by a 429 to wait.
    pub requests_while_limited: u64,
    /// Requests answered with 418 because of a ban.
    pub requests_while_banned: u64,
    /// Requests and handshakes answered with 403 or 451.
    pub requests_while_forbidden: u64,
    /// Handshakes refused, whatever with.
    pub handshakes_refused: u64,
    /// Bytes of REST bodies sent, after compression.
    pub rest_bytes_sent: u64,
    /// Stream connections opened.
    pub ws_connections: u64,
    /// Stream connections open now.
    pub ws_open: u64,
    /// Bytes of stream messages sent.
    pub ws_bytes_sent: u64,
}

/// Counts of one stream connection.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ConnectionReport {
    /// Its number, from 1.
    pub id: u64,
    /// The client's address.
    pub client: String,
    /// The path and query it connected to.
    pub path: String,
    /// Whether it is open.
    pub open: bool,
    /// Why it ended.
    pub ended: Option<String>,
    /// Messages received.
    pub messages_received: u64,
    /// Most messages received within a second of real time.
    pub messages_per_second_peak: u64,
    /// Names it is subscribed to (to at its end).
    pub streams: usize,
    /// Most names it was subscribed to.
    pub streams_peak: usize,
    /// Names it asked for that deliver nothing here: unknown, wrong case, wrong path.
    pub unknown_names: u64,
    /// The first of them.
    pub unknown_name_examples: BTreeSet<String>,
    /// Pings of the server that were not answered before the next.
    pub pongs_missed: u64,
    /// Messages sent.
    pub messages_sent: u64,
    /// Bytes of messages sent.
    pub bytes_sent: u64,
}

/// A rule that a client broke.
#[derive(Debug, Clone, Serialize)]
pub struct Violation {
    /// Exchange time, Unix ms.
    pub time_ms: i64,
    /// The client's address.
    pub client: String,
    /// The connection's number, for rules about streams.
    pub connection: Option<u64>,
    /// Which rule.
    pub rule: Rule,
    /// In words.
    pub detail: String,
}

/// Rules a client must keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// At most 2,400 weight in a minute.
    Weight,
    /// No request before the time a 429 said.
    RequestDuringLimit,
    /// No request while banned.
    RequestDuringBan,
    /// At most 10 messages a second.
    MessageRate,
    /// At most 1,024 streams on a connection.
    StreamCount,
    /// At most 300 connections in 5 minutes.
    ConnectionRate,
    /// A pong for every ping.
    MissingPong,
}

/// The books.
#[derive(Debug, Default)]
pub(super) struct Stats(Mutex<Books>);

/// The counts of one connection, shared between its session and the books.
pub(super) type SharedConnection = Arc<Mutex<ConnectionReport>>;

#[derive(Debug, Default)]
struct Books {
    clients: BTreeMap<IpAddr, Counts>,
    connections: BTreeMap<u64, (IpAddr, SharedConnection)>,
    ended: VecDeque<u64>,
    last_id: u64,
    opened: BTreeMap<IpAddr, VecDeque<Mono>>,
    told: BTreeMap<IpAddr, Told>,
    violations: Vec<Violation>,
    violation_count: u64,
}

/// When a fault told an address to stop, and until which exchange time.
#[derive(Debug, Clone, Copy)]
struct Told {
    at: Mono,
    until_ms: i64,
}

impl Stats {
    /// One REST request and what became of it.
    pub(super) fn request(
        &self,
        client: IpAddr,
        path: &str,
        verdict: Option<Verdict>,
        time_ms: i64,
    ) {
        let mut books = self.books();
        let counts = books.clients.entry(client).or_default();
        counts.requests += 1;
        // Paths that do not exist share one line: a scanner must not fill the memory.
        let known = path.starts_with("/fapi/v1/") || path.starts_with("/sim/");
        let line = if known && path.len() < 64 {
            path
        } else {
            "other"
        };
        if counts.requests_by_path.len() < KEPT_NAMES || counts.requests_by_path.contains_key(line)
        {
            *counts.requests_by_path.entry(line.to_owned()).or_insert(0) += 1;
        }
        if let Some(verdict) = verdict {
            books.weighed(client, path, verdict, time_ms);
        }
    }

    /// A client was told by a fault to stop until `until`.
    pub(super) fn told_to_stop(&self, client: IpAddr, until: TimeMs) {
        let at = Mono::now();
        let mut books = self.books();
        let told = books.told.entry(client).or_insert(Told {
            at,
            until_ms: until.ms(),
        });
        told.until_ms = told.until_ms.max(until.ms());
    }

    /// A request was answered with 403 or 451.
    pub(super) fn forbidden(&self, client: IpAddr) {
        self.books()
            .clients
            .entry(client)
            .or_default()
            .requests_while_forbidden += 1;
    }

    /// A handshake was answered with `status`.
    pub(super) fn handshake_refused(&self, client: IpAddr, status: u16) {
        let mut books = self.books();
        let counts = books.clients.entry(client).or_default();
        counts.handshakes_refused += 1;
        counts.requests_while_forbidden += u64::from(matches!(status, 403 | 451));
    }

    /// The REST answer's size and whether it was a refusal.
    pub(super) fn answered(&self, client: IpAddr, status: u16, bytes: usize) {
        let mut books = self.books();
        let counts = books.clients.entry(client).or_default();
        counts.rest_bytes_sent += bytes as u64;
        counts.refused += u64::from((400..500).contains(&status));
    }

    /// A stream connection was accepted.
    pub(super) fn connected(
        &self,
        client: SocketAddr,
        path: &str,
        time_ms: i64,
    ) -> SharedConnection {
        let mut books = self.books();
        books.last_id += 1;
        let id = books.last_id;
        let report = ConnectionReport {
            id,
            client: client.to_string(),
            path: path.chars().take(200).collect(),
            open: true,
            ..ConnectionReport::default()
        };
        let shared = Arc::new(Mutex::new(report));
        books
            .connections
            .insert(id, (client.ip(), Arc::clone(&shared)));
        let counts = books.clients.entry(client.ip()).or_default();
        counts.ws_connections += 1;
        counts.ws_open += 1;
        let opened = books.opened.entry(client.ip()).or_default();
        let now = Mono::now();
        opened.push_back(now);
        while opened
            .front()
            .is_some_and(|at| now.ms_since(*at) > CONNECTION_WINDOW_MS)
        {
            opened.pop_front();
        }
        let in_window = opened.len();
        if in_window > CONNECTIONS_PER_WINDOW {
            let detail = format!("{in_window} connections in 5 minutes");
            books.broken(client.ip(), Some(id), Rule::ConnectionRate, detail, time_ms);
        }
        shared
    }

    /// A stream connection has ended.
    pub(super) fn ended(&self, connection: &SharedConnection, why: &str) {
        let (id, bytes) = {
            let mut report = lock(connection);
            report.open = false;
            report.ended = Some(why.to_owned());
            (report.id, report.bytes_sent)
        };
        let mut books = self.books();
        if let Some(client) = books.connections.get(&id).map(|(client, _)| *client) {
            let counts = books.clients.entry(client).or_default();
            counts.ws_open = counts.ws_open.saturating_sub(1);
            counts.ws_bytes_sent += bytes;
        }
        books.ended.push_back(id);
        if books.ended.len() > KEPT
            && let Some(oldest) = books.ended.pop_front()
        {
            books.connections.remove(&oldest);
        }
    }

    /// A rule was broken on a stream connection.
    pub(super) fn broken_by(
        &self,
        connection: &SharedConnection,
        rule: Rule,
        detail: String,
        time_ms: i64,
    ) {
        let id = lock(connection).id;
        let mut books = self.books();
        if let Some(client) = books.connections.get(&id).map(|(client, _)| *client) {
            books.broken(client, Some(id), rule, detail, time_ms);
        }
    }

    /// All of it.
    pub(super) fn report(&self) -> StatsReport {
        let books = self.books();
        let mut report = StatsReport {
            violations: books.violations.clone(),
            violation_count: books.violation_count,
            ..StatsReport::default()
        };
        let mut clients = books.clients.clone();
        for (client, connection) in books.connections.values() {
            let connection = lock(connection).clone();
            if connection.open {
                clients.entry(*client).or_default().ws_bytes_sent += connection.bytes_sent;
            }
            report.connections.push(connection);
        }
        for (client, counts) in clients {
            report.totals.add(&counts);
            report.clients.insert(client.to_string(), counts);
        }
        report
    }

    fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionReport {
    /// A name that delivers nothing was asked for.
    pub(super) fn asked_for_unknown(&mut self, name: &str) {
        self.unknown_names += 1;
        if self.unknown_name_examples.len() < KEPT_NAMES {
            self.unknown_name_examples
                .insert(name.chars().take(64).collect());
        }
    }
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        for (path, count) in &other.requests_by_path {
            *self.requests_by_path.entry(path.clone()).or_insert(0) += count;
        }
        self.refused += other.refused;
        self.weight_peak = self.weight_peak.max(other.weight_peak);
        self.weight_last = self.weight_last.max(other.weight_last);
        self.requests_while_limited += other.requests_while_limited;
        self.requests_while_banned += other.requests_while_banned;
        self.rest_bytes_sent += other.rest_bytes_sent;
        self.requests_while_forbidden += other.requests_while_forbidden;
        self.handshakes_refused += other.handshakes_refused;
        self.ws_connections += other.ws_connections;
        self.ws_open += other.ws_open;
        self.ws_bytes_sent += other.ws_bytes_sent;
    }
}

impl Books {
    /// Counts a request that costs weight, and the rules it breaks.
    fn weighed(&mut self, client: IpAddr, path: &str, verdict: Verdict, time_ms: i64) {
        self.told.retain(|_, told| told.until_ms > time_ms);
        let told = self.told.get(&client).copied();
        let on_its_way = told.is_some_and(|told| Mono::now().ms_since(told.at) < ON_ITS_WAY_MS);
        let counts = self.clients.entry(client).or_default();
        counts.weight_peak = counts.weight_peak.max(verdict.own());
        counts.weight_last = verdict.own();
        let broken = match verdict {
            Verdict::Served { .. } => told.map(|told| {
                counts.requests_while_limited += 1;
                let detail = format!("{path}: told to wait until {}", told.until_ms);
                (Rule::RequestDuringLimit, detail)
            }),
            Verdict::Limited {
                used,
                own,
                retry_after_secs,
            } => {
                counts.requests_while_limited += 1;
                let detail = format!("{path}: {used} weight in this minute, 2400 allowed");
                if own > LIMIT {
                    Some((Rule::Weight, detail))
                } else {
                    // Others have used it up, which this client learns from this answer.
                    let until_ms = time_ms + retry_after_secs * 1_000;
                    let at = Mono::now();
                    self.told.entry(client).or_insert(Told { at, until_ms });
                    told.map(|_| (Rule::RequestDuringLimit, detail))
                }
            }
            Verdict::Banned { until, .. } => {
                counts.requests_while_banned += 1;
                let detail = format!("{path}: banned until {until}");
                Some((Rule::RequestDuringBan, detail))
            }
        };
        if let Some((rule, detail)) = broken.filter(|_| !on_its_way) {
            self.broken(client, None, rule, detail, time_ms);
        }
    }

    fn broken(
        &mut self,
        client: IpAddr,
        connection: Option<u64>,
        rule: Rule,
        detail: String,
        time_ms: i64,
    ) {
        self.violation_count += 1;
        if self.violations.len() < KEPT {
            self.violations.push(Violation {
                time_ms,
                client: client.to_string(),
                connection,
                rule,
                detail,
            });
        }
    }
}

/// The counts of a connection, locked.
pub(super) fn lock(connection: &SharedConnection) -> std::sync::MutexGuard<'_, ConnectionReport> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_301st_connection_within_five_minutes_breaks_a_rule() {
        let stats = Stats::default();
        let [one, other] = ["10.0.0.1:9", "10.0.0.2:9"].map(|address| address.parse().unwrap());
        for _ in 0..CONNECTIONS_PER_WINDOW {
            stats.connected(one, "/ws", 0);
        }
        stats.connected(other, "/ws", 0);
        assert_eq!(stats.report().violation_count, 0);
        stats.connected(one, "/ws", 7);
        let broken = stats.report().violations;
        assert_eq!(broken.len(), 1);
        assert_eq!(
            (broken[0].rule, broken[0].connection, broken[0].time_ms),
            (Rule::ConnectionRate, Some(302), 7)
        );
        tokio::time::advance(Duration::from_millis(CONNECTION_WINDOW_MS + 1)).await;
        stats.connected(one, "/ws", 8);
        assert_eq!(
            stats.report().violation_count,
            1,
            "the five minutes are over"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn requests_on_their_way_when_a_client_is_told_to_stop_are_counted_and_no_violation() {
        let stats = Stats::default();
        let client: IpAddr = [10, 0, 0, 1].into();
        let served = Some(Verdict::Served { used: 1, own: 1 });
        let ask = |time_ms: i64| {
            stats.request(client, "/fapi/v1/ping", served, time_ms);
            let report = stats.report();
            (report.totals.requests_while_limited, report.violation_count)
        };
        assert_eq!(ask(1_000), (0, 0));
        stats.told_to_stop(client, TimeMs::new(60_000));
        assert_eq!(ask(1_001), (1, 0));
        tokio::time::advance(Duration::from_millis(ON_ITS_WAY_MS)).await;
        assert_eq!(ask(59_999), (2, 1));
        assert_eq!(stats.report().violations[0].rule, Rule::RequestDuringLimit);
        assert_eq!(ask(60_000), (2, 1), "the time is over");
    }
}
