FROM rust:1.95-slim-trixie AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
# The caches outlive the layer, so that a change of one file does not compile every dependency again.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --locked --release --bin hamacast \
    && cp target/release/hamacast /hamacast

FROM debian:trixie-slim
# Certificates are compiled in; nothing but the one file is needed.
COPY --from=build /hamacast /usr/local/bin/hamacast
USER 65532:65532
# A .env is read from the working directory: here there is none, and nobody can put one.
WORKDIR /
ENV HAMA_LISTEN=0.0.0.0:5000
EXPOSE 5000
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 CMD ["hamacast", "healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["hamacast"]
CMD ["serve"]
