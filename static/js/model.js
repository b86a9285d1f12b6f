// What is known: contracts, the newest result of every series, the newest changes, the state of the feed.
// Messages come by the thousand and frames sixty a second: they meet in `changedRows` and `newChanges` only, which the
// view empties once a frame. Results may be forgotten but for the newest; a change is never dropped on the way. No DOM.

const KEPT_CHANGES = 300;
const BEGAN_ANEW = "the server began anew: changes while away are not known";

/** Symbol -> contract {symbol, base_asset, quote_asset, rank, tick_size, change_pct_24h}. */
export const contracts = new Map();
/** "SYMBOL:interval" -> the newest result. */
const results = new Map();
/** Newest first: items of the log, and gaps {gap: reason}. */
export const changes = [];
const changeIds = new Set();
const takenBack = new Map();

/** Symbols whose row differs from what was last drawn. */
export const changedRows = new Set();
/** Series in which a signal changed since the last frame. */
export const freshSignals = new Set();
/** What else differs: "rows" (which there are), "log", "state". */
export const changedParts = new Set(["rows", "log", "state"]);

export const state = {
  intervals: [], version: "", epoch: "", seq: 0, feed: null, store: null, series: null, lagMs: null,
  simulated: false, refusal: null, speed: 1, serverTime: null, serverTimeAt: 0,
};

const keyOf = (symbol, interval) => `${symbol}:${interval}`;
export const resultOf = (symbol, interval) => results.get(keyOf(symbol, interval));

/** The exchange's time now, null before the server told it. */
export function exchangeNow(monoMs) {
  return state.serverTime === null ? null : state.serverTime + (monoMs - state.serverTimeAt) * state.speed;
}

/** The answer of /api/v1/status. */
export function takeStatus(answer, monoMs) {
  state.intervals = answer.intervals;
  state.version = answer.version;
  state.simulated = answer.simulated;
  state.refusal = answer.exchange.refusal?.message ?? null;
  takeHeartbeat({ ...answer, speed: answer.clock.speed }, monoMs);
}

/** The answer of /api/v1/symbols. */
export function takeContracts(answer) {
  const watched = new Set(answer.symbols.map((contract) => contract.symbol));
  for (const symbol of contracts.keys()) if (!watched.has(symbol)) forget(symbol);
  for (const contract of answer.symbols) {
    contracts.set(contract.symbol, contract);
    changedRows.add(contract.symbol);
  }
  changedParts.add("rows");
}

/** Changes read from the log; those already heard are skipped. What stands below a gap is of another time. */
export function takeHistory({ epoch, changes: items }) {
  if (epoch !== state.epoch) return;
  const unheard = items.filter((item) => !changeIds.has(item.id));
  for (const item of unheard) remember(item);
  const gap = changes.findIndex((known) => known.gap !== undefined);
  const upTo = gap < 0 ? changes.length : gap;
  const recent = [...changes.slice(0, upTo), ...unheard].sort((a, b) => b.seq - a.seq);
  changes.splice(0, upTo, ...recent);
  trim();
}

/** Any item of the feed. True when the watch list has to be read anew. */
export function takeItem(item, monoMs) {
  switch (item.type) {
    case "hama":
    case "snapshot": takeResult(item); return false;
    case "signal": takeSignal(item); return false;
    case "correction": takeCorrection(item); return false;
    case "status": takeHeartbeat(item, monoMs); return false;
    case "reset": enterEpoch(item.epoch, "numbering began anew"); return false;
    case "ended": takeEnded(item); return false;
    case "symbols":
      for (const symbol of item.removed) forget(symbol);
      return true;
    default: return false; // the contract: types we do not know are ignored
  }
}

/** The answer to a SUBSCRIBE with a cursor. A new epoch was said by the `welcome` before it, and is one gap, not two. */
export function takeResumed(answer) {
  if (answer.resumed) return;
  enterEpoch(answer.epoch, BEGAN_ANEW);
  if (answer.reason !== "epoch") addGap(`changes while away were not kept (${answer.reason})`);
}

/** The first message of a connection. */
export function takeWelcome(item) {
  enterEpoch(item.epoch, BEGAN_ANEW);
  advance(item.seq);
}

/**
 * The numbering in force is this one. Numbers, times and results of another one mean nothing here: a simulated
 * exchange may even have gone back in time. What was heard stays readable, below a line that says so.
 */
function enterEpoch(epoch, reason) {
  if (epoch === undefined || epoch === state.epoch) return;
  const isFirst = state.epoch === "";
  state.epoch = epoch;
  state.seq = 0;
  changedParts.add("state");
  if (isFirst) return;
  results.clear();
  takenBack.clear();
  changeIds.clear();
  for (const symbol of contracts.keys()) changedRows.add(symbol);
  addGap(reason);
}

/** The newest number seen; an answer of REST may come in after a change that is younger than it. */
function advance(seq) {
  if (seq === undefined || seq <= state.seq) return;
  state.seq = seq;
  changedParts.add("state");
}

function takeResult(item) {
  const key = keyOf(item.symbol, item.interval);
  const known = results.get(key);
  // Two streams tell of one series: what was computed earlier must not replace what was computed later.
  if (known && known.event_time > item.event_time) return;
  results.set(key, item);
  changedRows.add(item.symbol);
}

function takeSignal(item) {
  addChange(item);
  const known = results.get(keyOf(item.symbol, item.interval));
  if (!known || known.event_time > item.event_time) return;
  const { recommendation, confidence, price, hama_close, ma, deviation_pct, seq, candle_close_time, last_cross_direction, last_cross_time } = item;
  results.set(keyOf(item.symbol, item.interval), {
    ...known, recommendation, confidence, price, hama_close, ma, deviation_pct, last_cross_direction, last_cross_time,
    change_seq: seq, changed_at: candle_close_time,
  });
}

function takeCorrection(item) {
  for (const seq of item.corrects) takenBack.set(seq, item.seq);
  addChange(item);
  const known = results.get(keyOf(item.symbol, item.interval));
  if (known) results.set(keyOf(item.symbol, item.interval), { ...known, recommendation: item.recommendation, change_seq: item.seq });
}

function addChange(item) {
  if (changeIds.has(item.id)) return;
  remember(item);
  advance(item.seq);
  changes.unshift(item);
  trim();
  freshSignals.add(keyOf(item.symbol, item.interval));
  changedRows.add(item.symbol);
}

function remember(item) {
  changeIds.add(item.id);
  if (item.type === "correction") for (const seq of item.corrects) takenBack.set(seq, item.seq);
  changedParts.add("log");
}

function trim() {
  for (const old of changes.splice(KEPT_CHANGES)) changeIds.delete(old.id);
  changedParts.add("log");
}

/** The number of the correction that took this change back, if any. */
export const correctedBy = (item) => (item.epoch === state.epoch ? takenBack.get(item.seq) : undefined);

function addGap(reason) {
  changes.unshift({ gap: reason });
  trim();
}

function takeEnded(item) {
  for (const interval of item.interval ? [item.interval] : state.intervals) {
    const known = item.symbol && results.get(keyOf(item.symbol, interval));
    if (known) results.set(keyOf(item.symbol, interval), { ...known, status: "ended" });
  }
  if (item.symbol) changedRows.add(item.symbol);
}

function takeHeartbeat(item, monoMs) {
  const { feed, store, series } = item;
  enterEpoch(item.epoch, BEGAN_ANEW);
  Object.assign(state, { feed, store, series, lagMs: item.lag_ms ?? null, speed: item.speed ?? 1 });
  advance(item.seq); // the feed leaves it out until it is a cursor
  state.serverTime = item.server_time;
  state.serverTimeAt = monoMs;
  changedParts.add("state");
}

function forget(symbol) {
  contracts.delete(symbol);
  for (const interval of state.intervals) results.delete(keyOf(symbol, interval));
  changedParts.add("rows");
}

/** How many contracts say what on the primary interval; those not yet able to say anything are warming. */
export function counts() {
  const count = { BUY: 0, SELL: 0, HOLD: 0, warming: 0 };
  for (const symbol of contracts.keys()) count[wordOf(symbol)] += 1;
  return count;
}

/** BUY, SELL, HOLD or warming: what a contract counts as. */
export function wordOf(symbol) {
  return resultOf(symbol, state.intervals[0])?.recommendation ?? "warming";
}
