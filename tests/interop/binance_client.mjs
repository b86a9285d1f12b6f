// npm `binance`: the USD-M REST client, and the stream client with its pings and its own reconnect.

import { createRequire } from "node:module";

import { INTERVAL, MAIN, MINUTE_MS, SLOW, SYMBOLS, YOUNG } from "./checks.mjs";
import { equal, expect, finish, get, haveKeptTheRules, promise, trueCandles, until } from "./checks.mjs";

const { USDMClient, WebsocketClient } = createRequire(`${process.env.INTEROP_MODULES}/`)("binance");

async function refused(call) {
  let answer;
  try {
    answer = await call();
  } catch (error) {
    return error;
  }
  throw new Error(`served: ${JSON.stringify(answer).slice(0, 200)}`);
}

async function rest() {
  const api = new USDMClient({ baseUrl: MAIN });
  let start;
  await promise("getExchangeInfo lists every contract, getServerTime is the exchange's", async () => {
    const names = (await api.getExchangeInfo()).symbols.map((row) => row.symbol);
    expect(SYMBOLS.every((symbol) => names.includes(symbol)), names);
    const before = (await get("/fapi/v1/time")).serverTime;
    const now = await api.getServerTime();
    expect(before <= now && now <= (await get("/fapi/v1/time")).serverTime, now);
    start = Math.floor(now / MINUTE_MS) * MINUTE_MS - 3_000 * MINUTE_MS;
    expect(api.getRateLimitStates()["x-mbx-used-weight-1m"] >= 1, "no weight seen");
  });
  await promise("getKlines without a limit gives 500 rows, the last one open, the others true", async () => {
    const before = (await get("/fapi/v1/time")).serverTime;
    const rows = await api.getKlines({ symbol: "BTCUSDT", interval: INTERVAL });
    equal(rows.length, 500, "rows");
    expect(rows.at(-1)[6] > before, "the last row had closed already");
    await trueCandles("BTCUSDT", rows.slice(0, -1));
  });
  await promise("getKlines with startTime, endTime and limit gives exactly that range, of a name in Chinese too", async () => {
    const minutes = (count) => Array.from({ length: count }, (_, at) => start + at * MINUTE_MS);
    for (const symbol of SYMBOLS) {
      const rows = await api.getKlines({ symbol, interval: INTERVAL, startTime: start, limit: 7 });
      equal(rows.map((row) => row[0]), minutes(7), symbol);
      await trueCandles(symbol, rows);
    }
    const range = { startTime: start, endTime: start + 4 * MINUTE_MS };
    const rows = await api.getKlines({ symbol: "BTCUSDT", interval: INTERVAL, ...range });
    equal(rows.map((row) => row[0]), minutes(5), "start and end");
  });
  await promise("get24hrChangeStatistics lists what is traded", async () => {
    const one = await api.get24hrChangeStatistics({ symbol: "币安人生USDT" });
    expect(one.symbol === "币安人生USDT" && Number(one.quoteVolume) > 0, one);
    const traded = (await api.getExchangeInfo()).symbols.filter((row) => row.status === "TRADING");
    const names = (await api.get24hrChangeStatistics()).map((row) => row.symbol);
    equal(names.sort(), traded.map((row) => row.symbol).sort(), "names");
  });
  await refusals(api);
}

async function refusals(api) {
  const request = { symbol: "BTCUSDT", interval: INTERVAL };
  for (const [change, code] of [[{ symbol: "NOPEUSDT" }, -1121], [{ interval: "1s" }, -1120], [{ limit: 1_501 }, -1130]]) {
    await promise(`${JSON.stringify(change)} is refused with ${code}`, async () => {
      equal((await refused(() => api.getKlines({ ...request, ...change }))).code, code, "code");
    });
  }
  await promise("the weight used up is refused with -1003 and Retry-After, going on is a ban", async () => {
    const slow = new USDMClient({ baseUrl: SLOW });
    const seen = [];
    for (let sent = 0; sent < 260 && !seen.at(-1)?.message?.includes("banned"); sent += 1) {
      await slow.get24hrChangeStatistics().catch((error) => seen.push(error));
    }
    expect(seen[0]?.message?.startsWith("Too many requests; current limit"), seen[0]);
    expect(seen.at(-1).message.startsWith("Way too many requests; IP banned until "), seen.at(-1));
    for (const error of seen) {
      equal(error.code, -1003, "code");
      expect(Number(error.headers["retry-after"]) > 0, error.headers);
    }
  });
}

/** Reads candle streams as a bot does. */
class Reader {
  closed = Object.fromEntries(SYMBOLS.map((symbol) => [symbol, []]));
  updates = 0;
  pongs = 0;
  cuts = 0;
  came = 0;
  problems = [];

  constructor() {
    // The client tells of its pongs to its logger only. Pings more often than its 10 s, to see some before the cut.
    const trace = (text) => { this.pongs += Number(String(text).startsWith("Received pong frame")); };
    const logger = { trace, info: () => {}, error: (...what) => this.problems.push(what[0]) };
    this.client = new WebsocketClient({ wsUrl: YOUNG.replace("http:", "ws:"), beautify: false, pingInterval: 1_000 }, logger);
    this.client.on("message", (message) => this.take(message));
    this.client.on("reconnecting", () => { this.cuts += 1; });
    this.client.on("reconnected", () => { this.came += 1; });
    this.client.on("exception", (what) => this.problems.push(what));
  }

  take(message) {
    const event = message.data ?? message;
    if (event.e !== "kline") return;
    const candle = event.k;
    if (candle.x) this.closed[event.s].push(["t", "o", "h", "l", "c", "v"].map((key) => candle[key]));
    else this.updates += 1;
  }

  eachClosed(count) {
    return SYMBOLS.every((symbol) => this.closed[symbol].length >= (count[symbol] ?? count));
  }
}

async function streams() {
  const reader = new Reader();
  await promise(`subscribe gives open updates and closes of ${SYMBOLS.length} contracts`, async () => {
    await reader.client.subscribeKlines(SYMBOLS[0], INTERVAL, "usdm");
    await reader.client.subscribe(SYMBOLS.slice(1).map((symbol) => `${symbol.toLowerCase()}@kline_${INTERVAL}`), "usdmMarket");
    await until("two closes of each", () => reader.updates > 0 && reader.eachClosed(2));
    equal([...new Set((await get("/sim/stats", {}, YOUNG)).connections.map((c) => c.path))], ["/market/stream"], "paths");
  });
  await promise("its pings are answered: the connection lives until the exchange closes it for its age", async () => {
    await until("pongs", () => reader.pongs >= 2);
    await until("the cut", () => reader.cuts > 0);
    let ends = [];
    await until("the end in the books", async () => {
      const { connections } = await get("/sim/stats", {}, YOUNG);
      ends = connections.filter((c) => !c.open).map((c) => c.ended);
      return ends.length > 0;
    });
    equal([...new Set(ends)], ["24 hours over"], "ends");
  });
  await promise("after the cut it comes back by itself and goes on", async () => {
    await until("the reconnect", () => reader.came > 0);
    const more = Object.fromEntries(SYMBOLS.map((symbol) => [symbol, reader.closed[symbol].length + 2]));
    await until("two closes more of each", () => reader.eachClosed(more));
  });
  await promise("every candle that closed is the exchange's truth", async () => {
    for (const symbol of SYMBOLS) await trueCandles(symbol, reader.closed[symbol], YOUNG);
    equal(reader.problems, [], "what the client complained of");
  });
  reader.client.closeAll(true);
}

await rest();
await streams();
await promise("it broke no rule of the exchange", haveKeptTheRules);
await finish();
