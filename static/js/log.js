// The newest signal changes, newest first. What a correction took back stays readable, struck through and marked.

import * as model from "./model.js";
import { DASH, age, closeTime, decimalsOf, fullTime, price } from "./format.js";

const CLASS = { BUY: "buy", SELL: "sell", HOLD: "hold" };
// What comes a minute after its candle's close is news of the past: a minute of ours, however fast a simulated day runs.
const LATE_MS = 60_000;
const SHOWN = 100;

const nameOf = (item) => `${item.epoch}/${item.id}`; // one identity may be told in two epochs
const lines = new Map(); // name -> li, so that a line already there is moved, not made again
const $ = (id) => document.getElementById(id);

export function draw() {
  const log = $("log");
  const wanted = model.changes.slice(0, SHOWN).map((item) => item.gap ? gapLine(item) : line(item));
  const keep = new Set(wanted);
  for (const old of [...log.children]) if (!keep.has(old)) old.remove();
  wanted.forEach((li, index) => { if (log.children[index] !== li) log.insertBefore(li, log.children[index] ?? null); });
  const known = new Set(model.changes.map(nameOf));
  for (const name of lines.keys()) if (!known.has(name)) lines.delete(name);
  $("log-empty").hidden = wanted.length > 0;
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function gapLine(item) {
  item.li ??= element("li", "gap", item.gap);
  return item.li;
}

function line(item) {
  const correctedBy = model.correctedBy(item);
  let li = lines.get(nameOf(item));
  if (!li) { li = newLine(item); lines.set(nameOf(item), li); }
  if (correctedBy !== undefined && !li.classList.contains("over")) {
    li.classList.add("over");
    li.append(element("span", "tag", `taken back by #${correctedBy}`));
  }
  return li;
}

function newLine(item) {
  const li = element("li");
  const contract = model.contracts.get(item.symbol);
  const time = element("time", "", closeTime(item.candle_close_time));
  time.title = fullTime(item.candle_close_time + 1);
  time.dateTime = new Date(item.candle_close_time).toISOString();
  const name = element("span", "name");
  name.append(element("b", "", contract?.base_asset || item.symbol), element("small", "", ` ${item.interval}`));
  const cost = item.type === "signal" ? price(item.price, decimalsOf(contract?.tick_size)) : "";
  const turn = element("span", "turn");
  turn.append(element("span", "", item.previous ?? DASH), element("span", "", "→"), element("b", CLASS[item.recommendation], item.recommendation));
  li.append(time, name, element("span", "price num", cost), turn, element("span", "number num", `#${item.seq}`));
  const remark = remarkOf(item);
  if (remark) li.append(element("span", "tag", remark));
  return li;
}

function remarkOf(item) {
  if (item.type === "correction") return `correction: the exchange revised this candle (takes back ${item.corrects.map((seq) => `#${seq}`).join(", ") || "nothing told"})`;
  if (item.source === "catch_up") return `caught up, ${age(item.late_ms)} after the close`;
  return item.late_ms > LATE_MS * model.state.speed ? `late: ${age(item.late_ms)} after the close` : "";
}
