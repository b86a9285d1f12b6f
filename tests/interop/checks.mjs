// One line for each promise kept or broken, the exchange's truth, and waits that end: what checks.py is to Python.

import { isDeepStrictEqual } from "node:util";

import { refused } from "./local_only.mjs";

export const MAIN = process.env.INTEROP_MAIN;
// An exchange whose connections live for seconds.
export const YOUNG = process.env.INTEROP_YOUNG;
// An exchange whose minute is a real one, so that its weight can be used up.
export const SLOW = process.env.INTEROP_SLOW;
export const INTERVAL = "1m";
export const MINUTE_MS = 60_000;
const PATIENCE_MS = 45_000;
// The contracts whose streams are read; the name that is not ASCII is what clients stumble over.
export const SYMBOLS = ["BTCUSDT", "ETHUSDT", "1000PEPEUSDT", "币安人生USDT"];

const client = process.env.INTEROP_CLIENT;
const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value)?.slice(0, 600));

/** Runs the block and prints whether it kept the promise; a broken one does not end the program. */
export async function promise(text, block) {
  try {
    await block();
    console.log(`ok ${client}: ${text}`);
  } catch (error) {
    console.log(`FAILED ${client}: ${text}: ${error?.message ?? shown(error)}`);
  }
}

export function expect(kept, found) {
  if (!kept) throw new Error(`not so: ${shown(found)}`);
}

export function equal(found, expected, what) {
  if (!isDeepStrictEqual(found, expected)) throw new Error(`${what}: ${shown(found)}, expected ${shown(expected)}`);
}

/** A plain request, past the client under test. */
export async function get(path, params = {}, base = MAIN) {
  const answer = await fetch(`${base}${path}?${new URLSearchParams(params)}`);
  expect(answer.ok, `${path}: ${answer.status}`);
  return answer.json();
}

/** Looks again and again until it is so. */
export async function until(what, look) {
  const end = Date.now() + PATIENCE_MS;
  while (!(await look())) {
    if (Date.now() > end) throw new Error(`${what}: did not come within ${PATIENCE_MS} ms`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

/** Compares closed candles with what the exchange says every client must end up with. */
export async function trueCandles(symbol, rows, base = MAIN) {
  const numbers = (row) => row.slice(0, 6).map(Number);
  const found = rows.map(numbers).sort((a, b) => a[0] - b[0]);
  expect(found.length > 0, `${symbol}: no closed candle`);
  const range = { from: found[0][0], to: found.at(-1)[0] };
  const { candles } = await get("/sim/truth", { symbol, interval: INTERVAL, ...range }, base);
  const byOpen = new Map(candles.map((row) => [row[0], numbers(row)]));
  for (const row of found) equal(row, byOpen.get(row[0]), `${symbol} ${row[0]}`);
}

/** No rule of the exchange was broken; a late pong is the machine's load, a missing one ends the connection. */
export async function haveKeptTheRules() {
  for (const base of [MAIN, YOUNG]) hasKeptTheRules(await get("/sim/stats", {}, base));
}

function hasKeptTheRules(report) {
  equal(report.violations.filter((v) => v.rule !== "missing_pong"), [], "rules broken");
  equal(report.connections.filter((c) => c.ended === "no pong"), [], "cut for a missing pong");
  equal(report.connections.filter((c) => c.unknown_names).map((c) => c.unknown_name_examples), [], "names that deliver nothing");
  const paths = Object.keys(report.totals.requests_by_path);
  equal(paths.filter((path) => !/^\/(fapi\/v1|sim)\//.test(path)), [], "paths that an exchange of perpetuals has not");
}

/** The last promise of a client: all it said stayed here. */
export async function finish() {
  await promise("nobody but the simulator was asked, and asking somebody else would have failed", async () => {
    equal(refused, [], "refused");
    await fetch("http://exchange.invalid/").catch(() => {});
    equal(refused, ["exchange.invalid"], "refused");
  });
  process.exit(0);
}
