"""binance-futures-connector's stream client at our own feed: a client of the exchange's streams connects by changing its
base URL (websocket.md), raw and combined."""

import json
import logging
import queue

import checks
from checks import Deadline, equal, promise

from binance.websocket.um_futures.websocket_client import UMFuturesWebsocketClient

STREAM = "btcusdt@signal_15m"
logging.disable()  # it warns of every close, and closes are wanted here


class Feed:
    """A connection to the feed and what came, without what a client of the exchange need not know."""

    def __init__(self, is_combined):
        self.told, self.items, self.answers, self.is_combined = queue.Queue(), [], [], is_combined
        self.client = UMFuturesWebsocketClient(
            stream_url=checks.streams_of(checks.MAIN) + "/market",
            is_combined=is_combined,
            on_message=lambda _, text: self.told.put(json.loads(text)),
            on_error=lambda _, error: self.told.put({"broken": str(error)}),
            on_close=lambda _: self.told.put({"broken": "closed"}),
        )

    def until(self, what, done):
        deadline = Deadline(what)
        while not done():
            message = deadline.next_of(self.told)
            assert "broken" not in message, message
            if "result" in message or "error" in message:
                self.answers.append(message)
            elif self.is_combined and message["stream"] == STREAM:
                self.items.append(message["data"])
            elif not self.is_combined and message["type"] != "beat":
                self.items.append(message)

    def changes(self):
        return [item for item in self.items if item["type"] == "signal"]


def reads(is_combined):
    feed = Feed(is_combined)
    with promise(f"{'combined' if is_combined else 'raw'}: SUBSCRIBE is answered, then snapshot and live come"):
        feed.client.subscribe(STREAM, id=2**53 + 1)
        feed.until("the live item", lambda: len(feed.items) >= 2)
        equal(feed.answers, [{"result": None, "id": 2**53 + 1}], "answers")
        equal([item["type"] for item in feed.items[:2]], ["snapshot", "live"], "items")
        equal((feed.items[0]["symbol"], feed.items[0]["interval"]), ("BTCUSDT", "15m"), "snapshot")
    return feed


checks.wait_for("BTCUSDT is live", lambda: checks.get("/api/v1/status")["series"]["live"])
feeds = [reads(is_combined=False), reads(is_combined=True)]
with promise("changes of BTCUSDT come on both, as /api/v1/changes lists them"):
    for feed in feeds:
        feed.until("two changes", lambda: len(feed.changes()) >= 2)
    raw, combined = (feed.changes() for feed in feeds)
    listed = checks.get("/api/v1/changes", symbol="BTCUSDT", interval="15m", since=0, limit=1_000)["changes"]
    by_seq = {change["seq"]: change for change in listed}
    for change in raw + combined:
        equal(change, by_seq.get(change["seq"]), f"change {change['seq']}")
    for changes in (raw, combined):
        equal([change["prev_seq"] for change in changes[1:]], [change["seq"] for change in changes[:-1]], "chain")
    # The raw one subscribed first: up to its last change it has every one that the other has.
    seen = [change["seq"] for change in combined if change["seq"] <= raw[-1]["seq"]]
    assert seen and set(seen) <= {change["seq"] for change in raw}, (raw, combined)
with promise("what the feed does not have is refused with code 2, not acknowledged in silence"):
    feeds[0].client.subscribe("btcusdt@nonsense_15m", id=9)
    feeds[0].until("the answer", lambda: len(feeds[0].answers) >= 2)
    equal((feeds[0].answers[-1]["error"]["code"], feeds[0].answers[-1]["id"]), (2, 9))
for feed in feeds:
    feed.client.stop()
checks.finish()
