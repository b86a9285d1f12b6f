// The head of the page: is this live, how old is it, can it be trusted; and the counts.

import * as model from "./model.js";
import { DASH, zone } from "./format.js";

const QUIET_MS = 7_500; // one heartbeat of 5 s missed, and half of the next
const $ = (id) => document.getElementById(id);
const shown = new Map();

function put(id, text) {
  if (shown.get(id) === text) return;
  shown.set(id, text);
  $(id).textContent = text;
}

/** connecting, live, stale or offline: `link` is what the wire says, `silentMs` how long nothing was heard. */
export function connectionWord(link, silentMs) {
  if (link === "open") return silentMs > QUIET_MS ? "stale" : "live";
  return link;
}

/** The part that moves by itself. */
export function drawClock(link, silentMs) {
  const word = connectionWord(link, silentMs);
  if (document.body.dataset.connection !== word) document.body.dataset.connection = word;
  put("connection-word", word);
  put("age", silentMs === null ? "no message yet" : `last message ${seconds(silentMs)} ago`);
}

const seconds = (ms) => (ms < 10_000 ? `${(ms / 1000).toFixed(1)} s` : ms < 120_000 ? `${Math.round(ms / 1000)} s` : `${Math.round(ms / 60_000)} min`);

/** The part that the server tells. */
export function drawState() {
  const { feed, store, series, lagMs, simulated, speed, version, epoch, seq } = model.state;
  put("feed", feed ?? DASH);
  $("feed").className = feed === "live" || feed === null ? "" : feed === "degraded" ? "warn" : "bad";
  put("store", store ?? DASH);
  $("store").className = store === "degraded" ? "warn" : "";
  const all = series ? Object.values(series).reduce((sum, n) => sum + n, 0) : 0;
  put("series", series ? `${series.live} of ${all}` : DASH);
  put("lag", lagMs === null ? DASH : `${lagMs} ms`);
  $("simulated").hidden = !simulated;
  put("simulated", speed === 1 ? "SIMULATED" : `SIMULATED ×${Math.round(speed * 100) / 100}`);
  put("version", version ? `hamacast ${version}` : "hamacast");
  put("cursor", epoch ? `${epoch} #${seq}` : "");
}

export function drawCounts() {
  const known = model.contracts.size > 0;
  for (const [word, count] of Object.entries(model.counts())) put(`count-${word}`, known ? String(count) : DASH);
}

export function drawZone(date) { put("zone", `times in ${zone(date)}`); }

/** One line for what a reader should know; null: nothing. */
export function notice(text) {
  $("notice").hidden = text === null;
  put("notice", text ?? "");
}
