"""Refuses every name and address outside this machine before anything is sent: a client that was pointed at the
simulator only in part fails here instead of asking the real exchange. Import it before the client."""

import ipaddress
import os
import sys

# What asks the environment for a proxy is told of one that nobody serves.
PROXY_PORT = 9

refused = []


def _is_local(host):
    if host in (None, "", "localhost"):
        return True
    text = host.decode() if isinstance(host, bytes) else str(host)
    try:
        return ipaddress.ip_address(text).is_loopback
    except ValueError:
        return False


def _watch(event, args):
    if event == "socket.getaddrinfo":
        host = args[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(args[1], tuple):
        host = "a proxy" if args[1][1] == PROXY_PORT else args[1][0]
    elif event in ("socket.gethostbyname", "socket.gethostbyaddr"):
        host = args[0]
    else:
        return
    if not _is_local(host):
        refused.append(str(host))
        raise PermissionError(f"{host}: only this machine may be asked")


for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
    os.environ[name] = os.environ[name.lower()] = f"http://127.0.0.1:{PROXY_PORT}"
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
sys.addaudithook(_watch)
