// The way to the server: REST reads, and one feed connection that comes back by itself.
// It knows the protocol (subscribe, cursor, silence, goodbye) and nothing of the screen; what it hears it hands on.
// A cursor is only what the server says may be used as `since`: changes, corrections, `live` and `reset`, and the
// heartbeat once every subscription has had its `live`. `welcome` and snapshots are none.

const SILENT_MS = 15_000; // the heartbeat comes every 5 s: three missed, and the connection counts as dead
const BACKOFF_MIN_MS = 500;
const BACKOFF_MAX_MS = 30_000;
const NOT_UNCHANGED = new Set([1002, 1003, 1007, 1008, 1009, 4001]); // coming back the same way would end the same way

/** GET of our own API: the JSON, or an Error with the problem's detail. */
export async function read(path) {
  const response = await fetch(path, { headers: { accept: "application/json" }, signal: AbortSignal.timeout(10_000) });
  const body = await response.json();
  if (!response.ok) {
    throw Object.assign(new Error(body.detail ?? response.statusText), { status: response.status, problem: body });
  }
  return body;
}

/**
 * Keeps one connection to the feed. `intervals` are subscribed to: changes with the cursor, results fresh.
 * `hear` gets: opened(welcome), subscribed(answer; null without a cursor), item(item), closed(reason, inMs),
 * refused(reason).
 */
export class Feed {
  #hear; #intervals; #socket = null; #cursor = null; #heard = 0; #attempt = 0; #timer = 0; #later = 0;
  #waiting = new Set(); #answers = new Map(); #lastId = 0; #refused = false; #comeBackMs = null;

  constructor(intervals, hear) {
    this.#intervals = intervals;
    this.#hear = hear;
    const now = () => this.#now();
    addEventListener("online", now);
    addEventListener("pageshow", (event) => event.persisted && now());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && now());
    setInterval(() => this.#watch(), 1_000);
    this.#open();
  }

  /** Milliseconds (performance.now) of the last message, 0 before the first. */
  get heard() { return this.#heard; }
  /** Whether every subscription of the open connection has had its `live`. */
  get caughtUp() { return this.#socket?.readyState === WebSocket.OPEN && this.#waiting.size === 0 && this.#answers.size === 0; }

  #open() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const url = new URL("stream", document.baseURI);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url);
    this.#socket = socket;
    this.#waiting.clear();
    this.#answers.clear();
    this.#later = performance.now(); // an attempt that hears nothing is as dead as a silent connection
    socket.onmessage = (event) => socket === this.#socket && this.#receive(event.data);
    socket.onclose = (event) => socket === this.#socket && this.#lost(event.code, event.reason);
  }

  #receive(text) {
    this.#heard = this.#later = performance.now();
    let message;
    try { message = JSON.parse(text); } catch { return; }
    if (message.id !== undefined && message.data === undefined) { this.#answer(message); return; }
    const { stream, data } = message;
    for (const item of Array.isArray(data) ? data : [data]) this.#item(stream, item);
  }

  #item(stream, item) {
    if (typeof item?.type !== "string") return;
    if (item.type === "welcome") { this.#attempt = 0; this.#subscribe(); this.#hear.opened(item); return; }
    if (item.type === "live") this.#waiting.delete(stream);
    if (item.type === "reconnect") this.#comeBackMs = item.after_ms;
    const isChange = item.type === "signal" || item.type === "correction" || item.type === "reset";
    const carriesCursor = isChange || ((item.type === "live" || item.type === "status") && this.caughtUp);
    this.#hear.item(item);
    if (carriesCursor && item.epoch !== undefined && item.seq !== undefined) this.#cursor = { epoch: item.epoch, seq: item.seq };
  }

  // Changes first and alone with the cursor; results have none and are asked for once the changes are answered.
  #subscribe() {
    const changes = this.#intervals.map((interval) => `!signal_${interval}@arr`);
    const results = this.#intervals.map((interval) => `!hama_${interval}@arr`);
    for (const stream of changes) this.#waiting.add(stream);
    for (const stream of results) this.#waiting.add(stream);
    const since = this.#cursor;
    this.#send({ method: "SUBSCRIBE", params: changes, ...(since && { since }) }, (answer) => this.#hear.subscribed(answer));
    this.#send({ method: "SUBSCRIBE", params: results }, () => {});
  }

  #send(request, answered) {
    const id = ++this.#lastId;
    this.#answers.set(id, answered);
    this.#socket.send(JSON.stringify({ ...request, id }));
  }

  #answer(message) {
    const answered = this.#answers.get(message.id);
    this.#answers.delete(message.id);
    if (message.error) this.#refuse(message.error.msg);
    else answered?.(message.result);
  }

  #refuse(reason) {
    this.#refused = true;
    this.#hear.refused(reason);
    this.#drop();
  }

  // A browser may not notice for minutes that the network is gone; silence is noticed here.
  #watch() {
    if (this.#socket && performance.now() - this.#later > SILENT_MS) this.#lost(0, "nothing heard for 15 s");
  }

  #lost(code, reason) {
    this.#drop();
    if (NOT_UNCHANGED.has(code)) { this.#refuse(reason || `closed with ${code}`); return; }
    const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** ++this.#attempt);
    const floor = code === 1013 ? 5_000 : BACKOFF_MIN_MS;
    const inMs = this.#comeBackMs ?? floor + Math.random() * Math.max(0, ceiling - BACKOFF_MIN_MS);
    this.#comeBackMs = null;
    this.#timer = setTimeout(() => this.#open(), inMs);
    this.#hear.closed(reason, inMs);
  }

  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    if (socket) { socket.onmessage = socket.onclose = null; socket.close(); }
  }

  // The network or the reader is back: do not sit out the pause.
  #now() {
    if (this.#refused) return;
    if (!this.#socket) this.#open();
    else this.#watch();
  }
}
