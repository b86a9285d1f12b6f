// Refuses every name and address outside this machine before anything is sent: a client that was pointed at the
// simulator only in part fails here instead of asking the real exchange. Loaded with `node --import`.

import dns from "node:dns";
import net from "node:net";

// What asks the environment for a proxy is told of one that nobody serves.
const PROXY_PORT = 9;

export const refused = [];

function isLocal(host) {
  if (host === undefined || host === "localhost" || host === "::1") return true;
  return net.isIPv4(host) && host.startsWith("127.");
}

function refuse(host) {
  refused.push(String(host));
  return Object.assign(new Error(`${host}: only this machine may be asked`), { code: "EPERM" });
}

const connect = net.Socket.prototype.connect;
net.Socket.prototype.connect = function (...args) {
  const first = Array.isArray(args[0]) ? args[0][0] : args[0];
  const at = typeof first === "object" ? first : { port: first, host: typeof args[1] === "string" ? args[1] : undefined };
  const host = Number(at.port) === PROXY_PORT ? "a proxy" : at.host;
  if (isLocal(host)) return connect.apply(this, args);
  const error = refuse(host);
  setImmediate(() => this.destroy(error)); // once whoever connects can hear it
  return this;
};

const lookup = dns.lookup;
dns.lookup = (host, ...rest) => (isLocal(host) ? lookup(host, ...rest) : rest.at(-1)(refuse(host)));

for (const name of ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"]) {
  process.env[name] = process.env[name.toLowerCase()] = `http://127.0.0.1:${PROXY_PORT}`;
}
process.env.NO_PROXY = process.env.no_proxy = "127.0.0.1,localhost";
