// The table: a row per contract, written only where its text changed. Rows are sorted when the reader sorts, and by
// themselves only while neither pointer nor focus is inside, so that nothing moves away under a finger.

import * as model from "./model.js";
import { DASH, age, decimalsOf, distance, fullTime, moment, percent, price } from "./format.js";

const WHY = {
  warming: "warming: too little history", stale: "stale: feed silent", dirty: "dirty: filling a hole",
  ended: "ended: delisted", stopped: "stopped by operator", live: "live",
};
const SHORT = { ended: "delisted" }; // else the status itself is the word
const WORDS = { BUY: "buy", SELL: "sell", HOLD: "hold" };
const RANK_OF_WORD = { BUY: 0, HOLD: 1, SELL: 2 };

const rows = new Map(); // symbol -> {tr, cells, shown, decimals}
const sort = { column: "symbol", down: false, natural: true }; // natural: by rank, as the list comes
const filter = { word: null, text: "" };
let columns = [];
const $ = (id) => document.getElementById(id);

const primary = () => model.state.intervals[0];
const main = (symbol) => model.resultOf(symbol, primary());
const priceOf = (symbol) => main(symbol)?.live?.price ?? main(symbol)?.price ?? null;
const deviationOf = (symbol) => main(symbol)?.deviation_pct ?? null;

/** Builds the head; called when the intervals are known. */
export function build() {
  columns = [
    { id: "symbol", title: "Symbol", className: "col-symbol", value: (s) => s },
    { id: "price", title: "Price", className: "col-price", value: priceOf },
    { id: "change", title: "24 h", className: "col-change", value: (s) => model.contracts.get(s).change_pct_24h },
    ...model.state.intervals.map((interval) => ({
      id: interval, title: interval, className: "col-interval",
      value: (s) => { const r = model.resultOf(s, interval); return r?.recommendation ? RANK_OF_WORD[r.recommendation] * 1e15 - (r.changed_at ?? 0) : null; },
    })),
    { id: "deviation", title: "Dev %", className: "col-deviation", value: deviationOf },
    { id: "cross", title: "Last cross", className: "col-cross", value: (s) => main(s)?.last_cross_time ?? null },
    { id: "status", title: "Status", className: "col-status", value: (s) => main(s)?.status ?? "warming" },
  ];
  $("head").replaceChildren(...columns.map(headCell));
  for (const { tr } of rows.values()) tr.remove();
  rows.clear();
}

function headCell(column) {
  const th = document.createElement("th");
  th.scope = "col";
  th.className = column.className;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = column.title;
  button.addEventListener("click", () => {
    sort.down = sort.column === column.id && !sort.natural ? !sort.down : false;
    sort.column = column.id;
    sort.natural = false;
    arrange();
  });
  th.append(button);
  column.th = th;
  return th;
}

/** Shows only contracts that say `word` (null: all). */
export function only(word) { filter.word = word; arrange(); }
/** Shows only contracts whose name holds `text`. */
export function search(text) { filter.text = text.trim().toUpperCase().replaceAll("/", ""); arrange(); }

/** Rows come and go with the watch list. */
export function syncRows() {
  for (const [symbol, { tr }] of rows) if (!model.contracts.has(symbol)) { tr.remove(); rows.delete(symbol); }
  for (const symbol of model.contracts.keys()) if (!rows.has(symbol)) rows.set(symbol, newRow(symbol));
  arrange();
}

function newRow(symbol) {
  const contract = model.contracts.get(symbol);
  const tr = document.createElement("tr");
  const cells = columns.map((column) => {
    const td = document.createElement("td");
    td.className = column.className;
    tr.append(td);
    return td;
  });
  const name = document.createElement("b");
  name.textContent = contract.base_asset || symbol;
  const quote = document.createElement("small");
  quote.textContent = contract.base_asset ? contract.quote_asset : "";
  const why = document.createElement("small");
  why.className = "why"; // shown where there is no room for the status column
  cells[0].append(name, quote, why);
  cells[0].title = symbol;
  const signals = model.state.intervals.map((_, index) => signalCell(cells[3 + index]));
  return { tr, cells, signals, why, shown: new Map(), decimals: decimalsOf(contract.tick_size) };
}

function signalCell(td) {
  const word = document.createElement("span");
  const arrow = document.createElement("span");
  const text = document.createElement("span");
  const since = document.createElement("span");
  word.className = "word missing";
  arrow.className = "arrow";
  arrow.ariaHidden = "true";
  since.className = "since";
  word.append(arrow, text);
  td.append(word, since);
  return { td, word, arrow, text, since };
}

// Writes only what differs from what stands there: reading the DOM back would cost a layout.
function put(row, slot, node, text) {
  if (row.shown.get(slot) === text) return;
  row.shown.set(slot, text);
  node.textContent = text;
}
function dress(row, slot, node, className) {
  if (row.shown.get(slot) === className) return;
  row.shown.set(slot, className);
  node.className = className;
}

/** Writes the cells of these contracts; `now` is the exchange's time. */
export function draw(symbols, now) {
  for (const symbol of symbols) {
    const row = rows.get(symbol);
    if (row && !row.tr.hidden) drawRow(symbol, row, now);
  }
}

function drawRow(symbol, row, now) {
  const result = main(symbol);
  const change = model.contracts.get(symbol).change_pct_24h;
  put(row, "price", row.cells[1], price(priceOf(symbol), row.decimals));
  put(row, "change", row.cells[2], percent(change));
  dress(row, "change-class", row.cells[2], `col-change ${change > 0 ? "up" : change < 0 ? "down" : "none"}`);
  model.state.intervals.forEach((interval, index) => drawSignal(row, row.signals[index], model.resultOf(symbol, interval), index, now));
  const after = 3 + model.state.intervals.length;
  put(row, "deviation", row.cells[after], distance(deviationOf(symbol)));
  const direction = result?.last_cross_direction ?? 0;
  const crossed = direction === 0 ? "" : fullTime(result.last_cross_time);
  if (row.cells[after + 1].title !== crossed) row.cells[after + 1].title = crossed;
  put(row, "cross", row.cells[after + 1], direction === 0 ? DASH : `${direction > 0 ? "up" : "down"} ${moment(result.last_cross_time, now)}`);
  const status = result?.status ?? "warming";
  put(row, "status", row.cells[after + 2], SHORT[status] ?? status);
  put(row, "why", row.why, status === "live" ? "" : (SHORT[status] ?? status));
  dress(row, "row", row.tr, status === "live" ? "" : "dim");
  const title = status === "live" ? "" : (WHY[status] ?? status);
  if (row.tr.title !== title) row.tr.title = title;
}

function drawSignal(row, cell, result, index, now) {
  const word = result?.recommendation ?? null;
  put(row, `word${index}`, cell.text, word ?? DASH);
  dress(row, `class${index}`, cell.word, `word ${word ? WORDS[word] : "missing"}`);
  dress(row, `dim${index}`, cell.td, `col-interval${result && result.status !== "live" && index > 0 ? " dim" : ""}`);
  const elapsed = word && result.changed_at !== null && now !== null ? age(now - result.changed_at) : "";
  put(row, `since${index}`, cell.since, elapsed);
}

/** A signal has just changed in these series: their cells are tinted for a moment. */
export function flash(keys) {
  for (const key of keys) {
    const [symbol, interval] = key.split(":");
    const cell = rows.get(symbol)?.signals[model.state.intervals.indexOf(interval)];
    cell?.td.animate?.([{ backgroundColor: "color-mix(in srgb, var(--accent) 26%, transparent)" }, { backgroundColor: "transparent" }], { duration: 2400, easing: "ease-out" });
  }
}

const isBusy = () => { const body = $("rows"); return body.matches(":hover") || body.contains(document.activeElement); };

/** Sorts by itself, where values move: not while the reader is inside. */
export function rearrangeIfIdle() { if (!isBusy() && (!sort.natural || filter.word)) arrange(); }

/** Order and filter of the rows. */
export function arrange() {
  const symbols = [...rows.keys()].sort(sort.natural ? byRank : byColumn);
  const body = $("rows");
  let shown = 0;
  let at = body.firstElementChild;
  for (const symbol of symbols) {
    const { tr } = rows.get(symbol);
    const fits = (!filter.word || model.wordOf(symbol) === filter.word) && symbol.includes(filter.text);
    if (fits && tr.hidden) model.changedRows.add(symbol);
    tr.hidden = !fits;
    shown += fits;
    if (tr === at) at = at.nextElementSibling;
    else body.insertBefore(tr, at);
  }
  for (const column of columns) {
    const on = !sort.natural && column.id === sort.column;
    if (on) column.th.ariaSort = sort.down ? "descending" : "ascending";
    else column.th.removeAttribute("aria-sort");
  }
  $("empty").hidden = shown > 0;
  $("empty").textContent = rows.size === 0 ? "No contract is watched yet: the watch list is being read." : "No contract matches.";
}

const byRank = (a, b) => (model.contracts.get(a).rank ?? Infinity) - (model.contracts.get(b).rank ?? Infinity) || (a < b ? -1 : 1);

// Missing values stand last in either direction: they are not small, they are unknown.
function byColumn(a, b) {
  const column = columns.find(({ id }) => id === sort.column);
  const [x, y] = [column.value(a), column.value(b)];
  if (x === null || y === null || x === undefined || y === undefined) return (x ?? null) === (y ?? null) ? byRank(a, b) : x === null || x === undefined ? 1 : -1;
  const order = x < y ? -1 : x > y ? 1 : 0;
  return order === 0 ? byRank(a, b) : sort.down ? -order : order;
}
