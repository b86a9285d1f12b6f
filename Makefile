# Everything one needs with Rust and a C compiler; one compile profile (dev) for running and testing.

.PHONY: demo build test release tools
.DEFAULT_GOAL := build

demo: tools
	cargo run --locked --bin hamacast -- demo

build: tools
	cargo build --locked --bin hamacast

# What CI runs, in the order in which it is quick to fail.
test: tools
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
	cargo test --locked

release: tools
	cargo build --locked --release --bin hamacast

# TLS (ring) is partly C and assembler: say so before a page of linker errors does.
tools:
	@command -v cargo >/dev/null || { echo "hamacast needs Rust: https://rustup.rs" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "hamacast needs a C compiler: apt-get install build-essential" >&2; exit 1; }
