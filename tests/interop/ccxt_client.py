"""ccxt's binanceusdm, REST and streams, as exchange.md 6 says to point it at another exchange."""

import asyncio
import contextlib

import checks
from checks import MINUTE_MS, SYMBOLS, Deadline, equal, promise

import ccxt.pro as ccxt

INTERVAL = "1m"


def client(rest):
    """Unchanged but for its addresses; both names of the stream address, since ccxt renamed it."""
    streams = rest.replace("http:", "ws:")
    return ccxt.binanceusdm({
        "urls": {"api": {
            "fapiPublic": rest + "/fapi/v1", "fapiPublicV2": rest + "/fapi/v2", "fapiData": rest + "/futures/data",
            "ws": {"future": streams + "/ws", "linear": streams + "/ws"},
        }},
        "enableRateLimit": False,
    })


def unified(symbol):
    return symbol.removesuffix("USDT") + "/USDT:USDT"


async def markets(ex):
    with promise("load_markets reads every contract, with tick and state"):
        await ex.load_markets()
        listed = checks.get("/fapi/v1/exchangeInfo")["symbols"]
        perpetuals = {row["symbol"] for row in listed if row["contractType"] == "PERPETUAL"}
        assert perpetuals <= set(ex.markets_by_id), perpetuals - set(ex.markets_by_id)
        equal(ex.market("BTC/USDT:USDT")["precision"]["price"], 0.1, "tick of BTCUSDT")
        for row in listed:
            for market in ex.markets_by_id[row["symbol"]]:
                equal(market["active"], row["status"] == "TRADING", row["symbol"])
    with promise("fetch_time is the exchange's time"):
        before = checks.exchange_time()
        assert before <= await ex.fetch_time() <= checks.exchange_time()


async def candles(ex):
    with promise("fetch_ohlcv without a limit gives 500 rows, the last one open, the others true"):
        before = checks.exchange_time()
        rows = await ex.fetch_ohlcv("BTC/USDT:USDT", INTERVAL)
        equal(len(rows), 500)
        assert rows[-1][0] + MINUTE_MS > before, "the last row had closed already"
        checks.must_follow("BTCUSDT", rows)
        checks.must_be_true_candles("BTCUSDT", rows[:-1])
    with promise("fetch_ohlcv with since, until and limit gives exactly that range, of a name in Chinese too"):
        start = checks.exchange_time() // MINUTE_MS * MINUTE_MS - 3_000 * MINUTE_MS
        for symbol in SYMBOLS:
            rows = await ex.fetch_ohlcv(unified(symbol), INTERVAL, start, 7)
            equal([row[0] for row in rows], [start + at * MINUTE_MS for at in range(7)], symbol)
            checks.must_be_true_candles(symbol, rows)
        rows = await ex.fetch_ohlcv("BTC/USDT:USDT", INTERVAL, start, None, {"until": start + 4 * MINUTE_MS})
        equal([row[0] for row in rows], [start + at * MINUTE_MS for at in range(5)])
        rows = await ex.fapiPublicGetKlines({"symbol": "ethusdt", "interval": "1h", "limit": 3, "endTime": start})
        assert len(rows) == 3 and int(rows[-1][0]) <= start < int(rows[-1][6]), rows
    with promise("fetch_ticker and fetch_tickers list what is traded"):
        ticker = await ex.fetch_ticker(unified("币安人生USDT"))
        assert ticker["last"] > 0 and ticker["quoteVolume"] > 0, ticker
        every = await ex.fetch_tickers()
        listed = checks.get("/fapi/v1/exchangeInfo")["symbols"]
        traded = {row["symbol"] for row in listed if row["status"] == "TRADING"}
        equal({ticker["info"]["symbol"] for ticker in every.values()}, traded)


async def refusals(ex):
    request = {"symbol": "BTCUSDT", "interval": INTERVAL}
    for change, expected in [
        ({"symbol": "NOPEUSDT"}, ccxt.BadSymbol),
        ({"interval": "1s"}, ccxt.BadRequest),
        ({"limit": 1_501}, ccxt.BadRequest),
    ]:
        with promise(f"{change} is refused as {expected.__name__}"):
            try:
                rows = await ex.fapiPublicGetKlines(request | change)
            except expected:
                continue
            raise AssertionError(f"served with {len(rows)} rows")


async def weight():
    """Uses up the minute's weight, then goes on until the ban."""
    ex = client(checks.SLOW)
    try:
        for status, at_most in [("429", 200), ("418", 60)]:
            with promise(f"{status} comes as DDoSProtection"):
                for _ in range(at_most):
                    try:
                        await ex.fapiPublicGetTicker24hr()
                    except ccxt.DDoSProtection as error:
                        if f" {status} " in str(error):
                            assert "-1003" in str(error), error
                            break
                else:
                    raise AssertionError(f"{at_most} requests were not enough")
    finally:
        await ex.close()


class Reader:
    """Reads candle streams as a bot does, a task for each contract, and keeps what closed while the connection stood."""

    def __init__(self, ex):
        self.ex, self.newest, self.closed, self.updates = ex, {}, {symbol: [] for symbol in SYMBOLS}, 0
        self.cuts = dict.fromkeys(SYMBOLS, 0)
        self.news = asyncio.Event()
        self.tasks = [asyncio.create_task(self.read(symbol)) for symbol in SYMBOLS]

    async def read(self, symbol):
        while True:
            try:
                for row in await self.ex.watch_ohlcv(unified(symbol), INTERVAL):
                    self.take(symbol, list(row))
            except ccxt.NetworkError:
                # What was open is not known to its end: the next rows begin anew.
                self.cuts[symbol] += 1
                self.newest.pop(symbol, None)
            self.news.set()

    def take(self, symbol, row):
        last = self.newest.get(symbol)
        if last and row[0] > last[0]:
            self.closed[symbol].append(last)
        elif last and row[0] == last[0] and row != last:
            self.updates += 1
        if not last or row[0] >= last[0]:
            self.newest[symbol] = row

    async def until(self, what, done):
        deadline = Deadline(what)
        while not done():
            for task in self.tasks:
                if task.done():
                    task.result()
            self.news.clear()
            # The tasks are looked at now and then: one that died sets nothing.
            at_most = min(1.0, deadline.left())
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.news.wait(), at_most)

    def more_closed(self, count):
        """Whether each contract closes so many candles more than it has now."""
        had = {symbol: len(rows) for symbol, rows in self.closed.items()}
        return lambda: all(len(self.closed[symbol]) >= had[symbol] + count for symbol in SYMBOLS)

    async def stop(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def streams(ex):
    with promise("watch_ohlcv_for_symbols subscribes to several at once"):
        pairs = [[unified(symbol), INTERVAL] for symbol in SYMBOLS]
        news = await asyncio.wait_for(ex.watch_ohlcv_for_symbols(pairs), checks.PATIENCE_S)
        assert set(news) <= {name for name, _ in pairs} and news, news
        (connection,) = checks.connections()
        equal((connection["path"], connection["streams"]), ("/market/ws/0", len(SYMBOLS)), "path and streams")


async def cuts(ex):
    await ex.load_markets()
    reader = Reader(ex)
    with promise(f"watch_ohlcv gives open updates and closes of {len(SYMBOLS)} contracts"):
        two = reader.more_closed(2)
        await reader.until("two closes of each", lambda: reader.updates and two())
    with promise("after the exchange cut the connection it comes back by itself and goes on"):
        await reader.until("the cut", lambda: all(reader.cuts.values()))
        await reader.until("two closes more", reader.more_closed(2))
        checks.must_end_of_age()
    with promise("every candle that closed is the exchange's truth"):
        for symbol, rows in reader.closed.items():
            checks.must_be_true_candles(symbol, rows, checks.YOUNG)
    await reader.stop()


async def main():
    ex, young = client(checks.MAIN), client(checks.YOUNG)
    try:
        await markets(ex)
        await candles(ex)
        await refusals(ex)
        await weight()
        await streams(ex)
        await cuts(young)
    finally:
        await ex.close()
        await young.close()
    with promise("it broke no rule of the exchange"):
        checks.must_have_kept_the_rules()
    checks.finish()


asyncio.run(main())
