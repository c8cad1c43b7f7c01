# syntax=docker/dockerfile:1
# One image for every role: `docker build -t bowline .`

FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --release --locked --package bowline-cli \
    && install -D --strip target/release/bowline /built/bowline

FROM debian:bookworm-slim
ARG VERSION=0.1.1
LABEL org.opencontainers.image.title="bowline" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
# curl is what the health checks ask with.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 bowline \
    && useradd --system --uid 10001 --gid bowline --no-create-home --home-dir /var/lib/bowline bowline \
    && install --directory --owner bowline --group bowline --mode 0700 /var/lib/bowline
COPY --from=build /built/bowline /usr/local/bin/bowline
RUN ln -s bowline /usr/local/bin/stateset-sequencer-admin
COPY config/runbook.yaml /etc/bowline/runbook.yaml
ENV BOWLINE_DATA=/var/lib/bowline
USER bowline
WORKDIR /var/lib/bowline
EXPOSE 8080 42069
STOPSIGNAL SIGTERM
ENTRYPOINT ["bowline"]
CMD ["serve", "--config", "/etc/bowline/runbook.yaml"]
