"""binance-futures-connector, REST and streams: frozen, so a fixed point. It does not come back by itself."""

import contextlib
import json
import logging
import queue

import checks
from checks import MINUTE_MS, SYMBOLS, Deadline, equal, promise

from binance.error import ClientError
from binance.um_futures import UMFutures
from binance.websocket.um_futures.websocket_client import UMFuturesWebsocketClient

INTERVAL = "1m"
logging.disable()  # it warns of every close, and closes are wanted here


def rest():
    api = UMFutures(base_url=checks.MAIN, show_limit_usage=True)
    with promise("exchange_info lists every contract and says the weight used"):
        answer = api.exchange_info()
        names = {row["symbol"] for row in answer["data"]["symbols"]}
        assert set(SYMBOLS) <= names, names
        assert int(answer["limit_usage"]["x-mbx-used-weight-1m"]) >= 1, answer["limit_usage"]
    with promise("klines without a limit gives 500 rows, the last one open, the others true"):
        before = checks.exchange_time()
        rows = api.klines("BTCUSDT", INTERVAL)["data"]
        equal(len(rows), 500)
        assert rows[-1][6] > before, "the last row had closed already"
        checks.must_follow("BTCUSDT", rows)
        checks.must_be_true_candles("BTCUSDT", rows[:-1])
    with promise("klines with startTime, endTime and limit gives exactly that range, of a name in Chinese too"):
        start = checks.exchange_time() // MINUTE_MS * MINUTE_MS - 3_000 * MINUTE_MS
        for symbol in SYMBOLS:
            rows = api.klines(symbol, INTERVAL, startTime=start, limit=7)["data"]
            equal([row[0] for row in rows], [start + at * MINUTE_MS for at in range(7)], symbol)
            checks.must_be_true_candles(symbol, rows)
        rows = api.klines("btcusdt", INTERVAL, startTime=start, endTime=start + 4 * MINUTE_MS)["data"]
        equal([row[0] for row in rows], [start + at * MINUTE_MS for at in range(5)])
        rows = api.klines("BTCUSDT", INTERVAL, endTime=start - 1, limit=3)["data"]
        equal([row[0] for row in rows], [start - at * MINUTE_MS for at in (3, 2, 1)])
    with promise("continuous_klines of a perpetual are its klines"):
        request = {"startTime": start, "limit": 9}
        rows = api.continuous_klines("BTCUSDT", "PERPETUAL", INTERVAL, **request)["data"]
        equal(rows, api.klines("BTCUSDT", INTERVAL, **request)["data"])
    with promise("ticker_24hr_price_change and mark_price list what is traded"):
        row = api.ticker_24hr_price_change("币安人生USDT")["data"]
        assert row["symbol"] == "币安人生USDT" and float(row["quoteVolume"]) > 0, row
        traded = {row["symbol"] for row in api.exchange_info()["data"]["symbols"] if row["status"] == "TRADING"}
        equal({row["symbol"] for row in api.ticker_24hr_price_change()["data"]}, traded)
        equal({row["symbol"] for row in api.mark_price()["data"]}, traded)
    refusals(api)


def refused(call, *args, **params):
    try:
        answer = call(*args, **params)
    except ClientError as error:
        return error
    raise AssertionError(f"served: {str(answer)[:200]}")


def refusals(api):
    for args, params, code in [
        (("NOPEUSDT", INTERVAL), {}, -1121),
        (("BTCUSDT", "1s"), {}, -1120),
        (("BTCUSDT", INTERVAL), {"limit": 1_501}, -1130),
    ]:
        with promise(f"klines of {args} {params} is refused with {code}"):
            error = refused(api.klines, *args, **params)
            equal((error.status_code, error.error_code), (400, code))
    with promise("the weight used up is 429 with Retry-After, going on is 418"):
        slow = UMFutures(base_url=checks.SLOW)
        seen = {}
        for _ in range(260):
            try:
                slow.ticker_24hr_price_change()
            except ClientError as error:
                seen.setdefault(error.status_code, error)
            if 418 in seen:
                break
        equal(set(seen), {429, 418})
        for error in seen.values():
            equal(error.error_code, -1003)
            assert int(error.header["Retry-After"]) > 0, error.header


class Stream:
    """A stream connection of the client and what it told."""

    def __init__(self, base, is_combined):
        self.told = queue.Queue()
        self.closed = {symbol: [] for symbol in SYMBOLS}
        self.updates, self.pings, self.answers = 0, 0, []
        self.client = UMFuturesWebsocketClient(
            stream_url=checks.streams_of(base) + "/market",
            is_combined=is_combined,
            on_message=lambda _, text: self.told.put(("message", text)),
            on_ping=lambda _, payload: self.told.put(("ping", payload)),
            on_close=lambda _: self.told.put(("close", None)),
            on_error=lambda _, error: self.told.put(("error", error)),
        )
        self.is_combined = is_combined

    def until(self, what, done):
        deadline = Deadline(what)
        while not done():
            kind, value = deadline.next_of(self.told)
            if kind == "close":
                raise EOFError(f"{what}: the exchange closed the connection")
            if kind == "error":
                raise value
            if kind == "ping":
                assert value.isdigit(), f"the payload of a ping is the time in ms, not {value!r}"
                self.pings += 1
            else:
                self.message(json.loads(value))

    def message(self, message):
        if "result" in message:
            self.answers.append(message)
            return
        event = message["data"] if self.is_combined else message
        equal(event["e"], "kline", "event")
        symbol, candle = event["s"], event["k"]
        if self.is_combined:
            name = "".join(c.lower() if c.isascii() else c for c in symbol)
            equal(message["stream"], f"{name}@kline_{INTERVAL}", "stream")
        if candle["x"]:
            self.closed[symbol].append([candle[key] for key in "tohlcv"])
        else:
            self.updates += 1

    def each_closed(self, count):
        return all(len(rows) >= count for rows in self.closed.values())


def stream(is_combined):
    form = "combined" if is_combined else "raw"
    stream = Stream(checks.MAIN, is_combined)
    with promise(f"{form}: kline gives open updates and closes of {len(SYMBOLS)} contracts, all true"):
        # One SUBSCRIBE each, with the time in ms as id: they may be equal, and need more than 32 bits.
        for symbol in SYMBOLS:
            stream.client.kline(symbol=symbol, interval=INTERVAL)
        stream.until("two closes of each", lambda: stream.updates and stream.each_closed(2))
        for symbol, rows in stream.closed.items():
            checks.must_follow(symbol, rows)
            checks.must_be_true_candles(symbol, rows)
        equal([answer["result"] for answer in stream.answers], [None] * len(SYMBOLS), "answers")
        assert all(answer["id"] > 2**32 for answer in stream.answers), stream.answers
    with promise(f"{form}: LIST_SUBSCRIPTIONS names them, UNSUBSCRIBE ends them"):
        stream.client.list_subscribe(id=2**53 + 1)
        stream.until("the list", lambda: stream.answers[-1]["id"] == 2**53 + 1)
        equal(len(stream.answers[-1]["result"]), len(SYMBOLS))
        stream.client.unsubscribe("ethusdt@kline_1m", id=7)
        stream.until("the answer", lambda: stream.answers[-1]["id"] == 7)
        # What was on its way when the answer was given still comes, before the second close of another.
        more = len(stream.closed["BTCUSDT"])
        stream.until("closes of another", lambda: len(stream.closed["BTCUSDT"]) >= more + 2)
        had = len(stream.closed["ETHUSDT"])
        stream.until("more closes of another", lambda: len(stream.closed["BTCUSDT"]) >= more + 4)
        equal(len(stream.closed["ETHUSDT"]), had, "closes of what was left")
    stream.client.stop()
    with promise(f"{form}: its empty pongs keep the connection until the exchange closes it for its age"):
        stream = Stream(checks.YOUNG, is_combined)
        stream.client.kline(symbol="BTCUSDT", interval=INTERVAL)
        with contextlib.suppress(EOFError):
            stream.until("the close", lambda: False)
        assert stream.pings and stream.closed["BTCUSDT"], "no ping or no candle came"
        checks.must_end_of_age()


rest()
stream(is_combined=False)
stream(is_combined=True)
with promise("it broke no rule of the exchange"):
    checks.must_have_kept_the_rules()
checks.finish()
