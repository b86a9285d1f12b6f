// Values as people read them. A missing value is a dash, never 0. Pure: no DOM, no clock.

export const DASH = "—";
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** Decimals that a tick size shows: 0.10 -> 1, 0.05 -> 2, 1e-7 -> 7. */
export function decimalsOf(tickSize) {
  if (!isNumber(tickSize) || tickSize <= 0) return null;
  for (let decimals = 0; decimals < 12; decimals += 1) {
    const scaled = tickSize * 10 ** decimals;
    if (Math.abs(scaled - Math.round(scaled)) < 1e-6 * scaled) return decimals;
  }
  return 12;
}

const byDecimals = new Map();
const bySignificance = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 7 });

export function price(value, decimals) {
  if (!isNumber(value)) return DASH;
  if (decimals === null) return bySignificance.format(value);
  let format = byDecimals.get(decimals);
  if (!format) {
    format = new Intl.NumberFormat("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
    byDecimals.set(decimals, format);
  }
  return format.format(value);
}

export function percent(value) {
  if (!isNumber(value)) return DASH;
  const text = Math.abs(value).toFixed(2);
  if (Number(text) === 0) return "0.00%";
  return `${value < 0 ? "−" : "+"}${text}%`;
}

export const distance = (value) => (isNumber(value) ? value.toFixed(3) : DASH);

/** 42s, 7m, 3h, 2d: one unit, so that a column of ages can be compared; a moment ahead of the clock is now. */
export function age(ms) {
  if (!isNumber(ms)) return "";
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}

const minute = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const full = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** Closes are the last millisecond of a candle: 14:14:59.999 reads as 14:15. */
export const closeTime = (ms) => (isNumber(ms) ? minute.format(ms + 1) : DASH);
export const fullTime = (ms) => (isNumber(ms) ? full.format(ms) : "");

/** 14:15 of the last 24 hours, 21 Nov before. */
export function moment(ms, nowMs) {
  if (!isNumber(ms)) return DASH;
  const recent = isNumber(nowMs) && Math.abs(nowMs - ms) < 86_400_000;
  return recent ? minute.format(ms) : day.format(ms);
}

/** The reader's zone, as times on the page are in it: UTC+01:00. */
export function zone(date) {
  const east = -date.getTimezoneOffset();
  const two = (n) => String(Math.floor(Math.abs(n))).padStart(2, "0");
  return east === 0 ? "UTC" : `UTC${east < 0 ? "−" : "+"}${two(east / 60)}:${two(east % 60)}`;
}
