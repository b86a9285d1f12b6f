"""One line for each promise kept or broken, the exchange's truth, and waits that end: what the Python clients share.
The runner counts the lines that begin with `ok` and `FAILED`."""

import contextlib
import json
import os
import queue
import time
import urllib.parse
import urllib.request

import local_only

MAIN = os.environ["INTEROP_MAIN"]
# An exchange whose connections live for seconds.
YOUNG = os.environ.get("INTEROP_YOUNG", "")
# An exchange whose minute is a real one, so that its weight can be used up.
SLOW = os.environ.get("INTEROP_SLOW", "")
MINUTE_MS = 60_000
# The contracts whose streams are read; the name that is not ASCII is what clients stumble over.
SYMBOLS = ["BTCUSDT", "ETHUSDT", "1000PEPEUSDT", "币安人生USDT"]
# No wait takes longer on an idle machine than a tenth of this.
PATIENCE_S = 45.0

_client = os.environ["INTEROP_CLIENT"]
_plain = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def get(path, base=MAIN, **params):
    """A plain request, past the client under test."""
    query = urllib.parse.urlencode(params)
    with _plain.open(f"{base}{path}?{query}", timeout=PATIENCE_S) as answer:
        return json.load(answer)


@contextlib.contextmanager
def promise(text):
    """Prints whether the block kept the promise; a broken one does not end the program."""
    try:
        yield
    except Exception as error:  # whatever a client throws breaks its promise, and only that one
        print(f"FAILED {_client}: {text}: {type(error).__name__}: {str(error)[:600]}", flush=True)
    else:
        print(f"ok {_client}: {text}", flush=True)


def streams_of(base):
    return base.replace("http:", "ws:")


def equal(found, expected, what=""):
    """Refuses anything but the expected value, and shows both."""
    assert found == expected, f"{what}: {found!r}, expected {expected!r}"


def exchange_time(base=MAIN):
    return get("/fapi/v1/time", base)["serverTime"]


def numbers(row):
    """Open time, prices and volume of any form of a candle row."""
    return [int(row[0])] + [float(text) for text in row[1:6]]


def must_be_true_candles(symbol, rows, base=MAIN):
    """Compares closed candles with what the exchange says every client must end up with."""
    rows = sorted(numbers(row) for row in rows)
    assert rows, f"{symbol}: no closed candle"
    truth = get("/sim/truth", base, symbol=symbol, interval="1m", **{"from": rows[0][0], "to": rows[-1][0]})
    by_open = {row[0]: numbers(row) for row in truth["candles"]}
    for row in rows:
        equal(row, by_open.get(row[0]), f"{symbol} {row[0]}")


def must_follow(symbol, rows):
    """Without a hole and without a double."""
    opens = [int(row[0]) for row in rows]
    equal(opens, list(range(opens[0], opens[0] + len(opens) * MINUTE_MS, MINUTE_MS)), symbol)


def connections(base=MAIN):
    return get("/sim/stats", base)["connections"]


def must_have_kept_the_rules():
    """No rule of the exchange was broken; a late pong is the machine's load, a missing one ends the connection."""
    for base in (MAIN, YOUNG):
        _must_have_kept_the_rules(get("/sim/stats", base))


def _must_have_kept_the_rules(report):
    broken = [v for v in report["violations"] if v["rule"] != "missing_pong"]
    equal(broken, [], "rules broken")
    equal([c["ended"] for c in report["connections"] if c["ended"] == "no pong"], [], "cut for a missing pong")
    unknown = [c["unknown_name_examples"] for c in report["connections"] if c["unknown_names"]]
    equal(unknown, [], "names that deliver nothing")
    odd = {path for path in report["totals"]["requests_by_path"] if not path.startswith(("/fapi/v1/", "/sim/"))}
    equal(odd, set(), "paths that an exchange of perpetuals has not")


def finish():
    """The last promise of a client: all it said stayed here. Ends the program, whatever threads a client left."""
    with promise("nobody but the simulator was asked, and asking somebody else would have failed"):
        equal(local_only.refused, [], "refused")
        try:
            get("/", base="http://exchange.invalid")
        except OSError:
            pass
        equal(local_only.refused, ["exchange.invalid"], "refused")
    os._exit(0)


def wait_for(what, look):
    """Looks again and again at what the exchange publishes until it is so."""
    deadline = Deadline(what)
    while not look():
        deadline.left()
        time.sleep(0.05)


def must_end_of_age():
    """Waits for the end of a connection to the young exchange: nothing but its age may have ended one."""
    ends = []
    wait_for("the end in the books", lambda: ends.extend(c["ended"] for c in connections(YOUNG) if not c["open"]) or ends)
    equal(set(ends), {"24 hours over"}, "ends")


class Deadline:
    """The end of a wait; says what was waited for."""

    def __init__(self, what):
        self.what, self.end = what, time.monotonic() + PATIENCE_S

    def left(self):
        left = self.end - time.monotonic()
        assert left > 0, f"{self.what}: did not come within {PATIENCE_S:.0f} s"
        return left

    def next_of(self, told):
        """What a client's thread put into the queue next."""
        while True:
            with contextlib.suppress(queue.Empty):
                return told.get(timeout=self.left())
