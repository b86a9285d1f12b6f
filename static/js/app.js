// Assembly: what is heard goes into the model, and one loop of animation frames writes what changed.
// Signals are drawn in the next frame, prices at most ten times a second, ages once a second.

import { Feed, read } from "./wire.js";
import * as model from "./model.js";
import * as table from "./table.js";
import * as log from "./log.js";
import * as header from "./header.js";

const PRICES_EVERY_MS = 100;
const AGES_EVERY_MS = 1_000;
const CONTRACTS_EVERY_MS = 60_000; // the 24 h figures are a minute old at most
const HISTORY = 100;

let feed = null;
let link = "connecting";
let pricesAt = 0;
let agesAt = 0;
const $ = (id) => document.getElementById(id);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function start() {
  listen();
  header.drawZone(new Date());
  requestAnimationFrame(frame);
  for (let attempt = 0; ; attempt += 1) {
    try { await load(); break; } catch (error) {
      link = "offline";
      header.notice(`The server does not answer (${error.message}); trying again.`);
      await pause(500 + Math.random() * Math.min(30_000, 500 * 2 ** attempt));
    }
  }
  header.notice(model.state.refusal);
  link = "connecting";
  feed = new Feed(model.state.intervals, hear);
  setInterval(loadContracts, CONTRACTS_EVERY_MS);
}

async function load() {
  const status = await read("api/v1/status");
  model.takeStatus(status, performance.now());
  table.build();
  model.takeContracts(await read("api/v1/symbols"));
}

async function loadContracts() {
  try { model.takeContracts(await read("api/v1/symbols")); } catch { /* the next minute asks again; what is shown stands */ }
}

// Read once the subscription stands: what changes after it is heard, so nothing falls between the two.
async function loadHistory() {
  const since = Math.max(0, model.state.seq - HISTORY);
  try {
    model.takeHistory(await read(`api/v1/changes?interval=all&limit=1000&since=${since}`));
  } catch { /* trimmed meanwhile or away: the log begins with what is heard */ }
}

// What the heartbeat does not tell: whether it is simulated, whether the exchange serves us.
function readStatus() {
  read("api/v1/status").then(takeStatus, () => { /* the next heartbeat asks again */ });
}

// The columns and the streams are those of the intervals: with others the page begins anew.
function takeStatus(status) {
  if (status.intervals.join() !== model.state.intervals.join()) location.reload();
  model.takeStatus(status, performance.now());
  if (link === "open") header.notice(model.state.refusal);
}

const hear = {
  opened(welcome) {
    link = "open";
    model.takeWelcome(welcome);
    header.notice(model.state.refusal);
    readStatus();
    loadContracts(); // the watch list may have changed meanwhile
  },
  item(item) {
    if (model.takeItem(item, performance.now())) loadContracts();
    if (item.type === "status" && (item.feed !== "live" || model.state.refusal)) readStatus();
  },
  subscribed(answer) {
    if (answer) model.takeResumed(answer);
    if (!answer?.resumed) loadHistory();
  },
  closed(reason, inMs) {
    link = "offline";
    header.notice(`Connection lost${reason ? ` (${reason})` : ""}: what you see is the last known state. Trying again in ${Math.ceil(inMs / 1000)} s.`);
  },
  refused(reason) {
    link = "offline";
    header.notice(`The server refused this page: ${reason}. Reload to try again.`);
  },
};

function frame(now) {
  const signals = model.freshSignals.size > 0;
  const ages = now - agesAt >= AGES_EVERY_MS;
  if (model.changedParts.delete("rows")) { table.syncRows(); pricesAt = 0; }
  if (signals || now - pricesAt >= PRICES_EVERY_MS) drawRows(now, ages);
  if (model.changedParts.delete("log")) log.draw();
  if (model.changedParts.delete("state")) header.drawState();
  const silentMs = feed?.heard ? Math.max(0, performance.now() - feed.heard) : null;
  header.drawClock(link, silentMs);
  requestAnimationFrame(frame);
}

function drawRows(now, ages) {
  pricesAt = now;
  const exchangeNow = model.exchangeNow(performance.now());
  if (ages) {
    agesAt = now;
    table.rearrangeIfIdle();
    table.draw(model.contracts.keys(), exchangeNow);
    model.changedRows.clear();
  }
  if (ages || model.changedRows.size > 0) header.drawCounts();
  table.draw(model.changedRows, exchangeNow);
  model.changedRows.clear();
  table.flash(model.freshSignals);
  model.freshSignals.clear();
}

function listen() {
  const chips = [...document.querySelectorAll(".chip")];
  for (const chip of chips) {
    chip.addEventListener("click", () => {
      const on = chip.ariaPressed !== "true";
      for (const other of chips) other.ariaPressed = String(on && other === chip);
      table.only(on ? chip.dataset.only : null);
    });
  }
  const panels = [...document.querySelectorAll(".panels button")];
  for (const button of panels) {
    button.addEventListener("click", () => {
      document.body.dataset.panel = button.dataset.panel;
      for (const other of panels) other.ariaPressed = String(other === button);
    });
  }
  const input = $("search");
  input.addEventListener("input", () => table.search(input.value));
  input.addEventListener("keydown", (event) => { if (event.key === "Escape") { input.value = ""; table.search(""); input.blur(); } });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || document.activeElement === input) return;
    event.preventDefault();
    input.focus();
  });
}

start();
