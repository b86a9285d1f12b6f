#!/usr/bin/env python3
"""Runs unchanged third-party clients against the simulated exchange and our own feed: `make interop`.

Installs what is missing under target/interop (a virtual environment and node_modules, both exactly pinned), starts an
exchange of its own for each client on free ports, prints a line for each promise and ends with the count."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PLACE = ROOT / "target" / "interop"
ENVIRONMENT, MODULES = PLACE / "python", PLACE / "node"
PYTHON = ENVIRONMENT / "bin" / "python"
HAMACAST = ROOT / "target" / "debug" / "hamacast"
CLIENT_S = 120
START_S = 60

EXCHANGE = ["exchange", "--listen", "127.0.0.1:0", "--symbols", "30", "--intervals", "1m"]
# A candle a second, and pings that are seen in a short run.
FAST = [*EXCHANGE, "--speed", "60", "--update-ms", "100", "--ping-ms", "500"]
# Connections die young; a client that never answers a ping is cut before that.
YOUNG = [*FAST, "--pong-timeout-ms", "4000", "--max-age-ms", "6000"]
SLOW = [*EXCHANGE, "--speed", "1"]
DEMO = ["demo", "--listen", "127.0.0.1:0", "--speed", "3600", "--symbols", "3", "--intervals", "15m"]


def install():
    """Makes the two environments unless they are there with just these versions."""
    wanted = (HERE / "requirements.txt").read_text() + sys.version
    stamp = ENVIRONMENT / "installed"
    if not stamp.is_file() or stamp.read_text() != wanted:
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        run_or_say([sys.executable, "-m", "venv", ENVIRONMENT], "python3 -m venv: apt-get install python3-venv")
        pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run_or_say([*pip, "-r", HERE / "requirements.txt"], "the packages of tests/interop/requirements.txt from PyPI")
        stamp.write_text(wanted)
    wanted = (HERE / "package-lock.json").read_text()
    stamp = MODULES / "installed"
    if not stamp.is_file() or stamp.read_text() != wanted:
        shutil.rmtree(MODULES, ignore_errors=True)
        MODULES.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, MODULES)
        npm = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        run_or_say(npm, "Node 20 with npm, and the packages of tests/interop/package-lock.json", cwd=MODULES)
        stamp.write_text(wanted)


def run_or_say(command, needs, **options):
    try:
        subprocess.run(command, check=True, **options)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"make interop needs {needs}: {error}")


class Server:
    """A hamacast process on a free port."""

    def __init__(self, arguments):
        quiet = {name: text for name, text in os.environ.items() if not name.startswith(("HAMA_", "REDIS_"))}
        self.process = subprocess.Popen(
            [HAMACAST, *arguments], cwd=PLACE, env=quiet | {"HAMA_LOG": "error"}, stdout=subprocess.PIPE, text=True
        )
        self.url = None
        ready = threading.Event()
        threading.Thread(target=self._read, args=(ready,), daemon=True).start()
        if not ready.wait(START_S) or self.url is None:
            self.stop()
            sys.exit(f"hamacast {' '.join(arguments)} did not start")

    def _read(self, ready):
        for line in self.process.stdout:
            found = re.search(r"listening on .*?(http://[0-9.]+:[0-9]+)", line)
            if found and not ready.is_set():
                self.url = found.group(1)
                ready.set()
        ready.set()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def client(name, command, servers):
    """Runs one client against servers of its own; gives how many promises it kept and broke."""
    started = time.monotonic()
    running = {}
    try:
        for variable, arguments in servers.items():
            running[variable] = Server(arguments)
        addresses = {variable: server.url for variable, server in running.items()}
        environment = os.environ | addresses | {
            "INTEROP_CLIENT": name, "INTEROP_MODULES": str(MODULES), "PYTHONDONTWRITEBYTECODE": "1",
        }
        kept, broken = read_lines(name, command, environment)
    finally:
        for server in running.values():
            server.stop()
    print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
    return kept, broken


def read_lines(name, command, environment):
    process = subprocess.Popen(command, cwd=HERE, env=environment, stdout=subprocess.PIPE, text=True)
    late = threading.Timer(CLIENT_S, process.kill)
    late.start()
    kept = broken = 0
    try:
        for line in process.stdout:
            print(line, end="", flush=True)
            kept += line.startswith("ok ")
            broken += line.startswith("FAILED ")
    except BaseException:
        process.kill()
        raise
    finally:
        code = process.wait()
        late.cancel()
    # A client that ends early has not shown the rest.
    if code != 0 or kept + broken == 0:
        print(f"FAILED {name}: ended with {code}; it has {CLIENT_S} s", flush=True)
        broken += 1
    return kept, broken


def main():
    if not HAMACAST.is_file():
        sys.exit("make interop needs target/debug/hamacast: make build")
    install()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    node = ["node", "--import", HERE / "local_only.mjs"]
    exchanges = {"INTEROP_MAIN": FAST, "INTEROP_YOUNG": YOUNG, "INTEROP_SLOW": SLOW}
    clients = [
        ("ccxt", [PYTHON, "ccxt_client.py"], exchanges),
        ("binance", [*node, "binance_client.mjs"], exchanges),
        ("connector", [PYTHON, "connector_client.py"], exchanges),
        ("connector at the feed", [PYTHON, "connector_feed.py"], {"INTEROP_MAIN": DEMO}),
    ]
    only = sys.argv[1:]
    results = [client(*one) for one in clients if not only or one[0] in only]
    kept, broken = (sum(counts) for counts in zip(*results))
    print(f"{kept} passed, {broken} failed")
    sys.exit(1 if broken or not kept else 0)


main()
