# Everything one needs with Rust and a C compiler; one compile profile (dev) for running and testing.

.PHONY: demo build test release tools redis
.DEFAULT_GOAL := build

demo: tools
	cargo run --locked --bin hamacast -- demo

build: tools
	cargo build --locked --bin hamacast

# What CI runs, in the order in which it is quick to fail.
test: tools redis
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
	cargo test --locked -- --show-output # with the figures: recoveries, handovers, weights

release: tools
	cargo build --locked --release --bin hamacast

# TLS (ring) is partly C and assembler: say so before a page of linker errors does.
tools:
	@command -v cargo >/dev/null || { echo "hamacast needs Rust: https://rustup.rs" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "hamacast needs a C compiler: apt-get install build-essential" >&2; exit 1; }

# The tests run real Redis servers: one that is missing is installed where that is possible without asking.
redis:
	@command -v redis-server >/dev/null || { \
		if [ "$$(id -u)" = 0 ]; then apt-get update -q && apt-get install -yq redis-server; \
		else sudo -n apt-get update -q && sudo -n apt-get install -yq redis-server; fi; } \
	|| { echo "the tests need redis-server 7: apt-get install redis-server" >&2; exit 1; }

# Unchanged clients of the exchange against the simulated one, and one of them against our own feed. The first run takes
# the clients from PyPI and npm, exactly pinned; later ones need no network.
.PHONY: interop python
interop: build python
	python3 tests/interop/run.py

python:
	@python3 -c 'import ensurepip, venv' 2>/dev/null || { \
		if [ "$$(id -u)" = 0 ]; then apt-get update -q && apt-get install -yq python3 python3-venv; \
		else sudo -n apt-get update -q && sudo -n apt-get install -yq python3 python3-venv; fi; } \
	|| { echo "make interop needs Python 3.11: apt-get install python3 python3-venv" >&2; exit 1; }
	@command -v npm >/dev/null || { echo "make interop needs Node 20 with npm: https://nodejs.org" >&2; exit 1; }

# By hand: the candle files of a directory (SYMBOL-5m.csv), played at 600 times real time, must come out of serve as the
# changes analyze finds. 1,000 candles after the first 600 take 8 minutes.
.PHONY: replay soak openapi bench-redis
replay: tools
	@test -n "$(DIR)" || { echo "say which candles: make replay DIR=some/directory" >&2; exit 1; }
	HAMACAST_REPLAY_DIR="$(abspath $(DIR))" cargo test --locked --test it -- --nocapture replay::replayed

# By hand: the demo for ten minutes, with a reader that is cut off at random and comes back.
soak: tools
	HAMACAST_DEMO_SECONDS=600 HAMACAST_DEMO_SPEED=60 cargo test --locked --test it -- --nocapture demo::

# By hand: Redis, engines and hubs as processes, for longer: ten rounds of handover, readers that jump and keys that are
# looked at for a minute.
.PHONY: redis-soak
redis-soak: tools redis
	HAMACAST_REDIS_SECONDS=60 HAMACAST_HANDOVER_ROUNDS=10 cargo test --locked --test it -- --nocapture redis_

# Writes docs/openapi.json anew after a change of the API.
openapi: tools
	UPDATE_DOCS=1 cargo test --locked --test it openapi

# By hand: the rates of the way through Redis, on a redis-server of its own; seven minutes and a release build.
bench-redis: tools redis
	cargo bench --locked --bench redis
