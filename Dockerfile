# The relay and nothing else: no shell, no package manager, no writable file.
#
#   docker build -t apixo-relay .
#   export RELAY_WEBHOOK_TOKENS=$(openssl rand -hex 16)
#   docker run -p 8720:8720 -e RELAY_WEBHOOK_TOKENS \
#     --read-only --cap-drop ALL --security-opt no-new-privileges --stop-timeout 30 \
#     -v apixo-relay:/data apixo-relay
#
# Releases have an image of the same kind, from the programs in their archives:
# .release/Dockerfile, deploy/RELEASING.md. An image of your own that others can build
# again, byte by byte, pins both images by digest and says what it is:
#
#   docker buildx build --platform linux/amd64,linux/arm64 \
#     --build-arg BUILD_IMAGE=golang:1.26@sha256:... \
#     --build-arg BASE_IMAGE=gcr.io/distroless/static-debian12:nonroot@sha256:... \
#     --build-arg VERSION=v1.0.0 --build-arg REVISION=$(git rev-parse HEAD) \
#     --build-arg CREATED=$(git log -1 --format=%cI) \
#     --build-arg SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) \
#     --output type=image,name=registry.example.com/apixo-relay:v1.0.0,push=true,rewrite-timestamp=true .

ARG BUILD_IMAGE=golang:1.26
# Brings the certificates of public authorities, for brokers that have one, and
# the user 65532; any image that has both will do.
ARG BASE_IMAGE=gcr.io/distroless/static-debian12:nonroot

# Go compiles for any platform on any: nothing here runs under emulation.
FROM --platform=$BUILDPLATFORM ${BUILD_IMAGE} AS build
# The image has Go keep to its own version, which can be one without the security
# fixes of the toolchain that go.mod names: that is fetched then.
ENV GOTOOLCHAIN=auto
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS TARGETARCH TARGETVARIANT
ARG VERSION=devel
ARG SOURCE_DATE_EPOCH=0
# The version comes by argument, since the repository's history is not in here. All
# that goes into the image gets the same time, so that the same files are the same bytes.
RUN set -e; \
    export CGO_ENABLED=0 GOOS="$TARGETOS" GOARCH="$TARGETARCH"; \
    if [ "$TARGETARCH" = arm ]; then export GOARM="${TARGETVARIANT#v}"; fi; \
    mkdir -p /out/owned/data; \
    go build -trimpath -buildvcs=false -ldflags "-s -w -X main.linkedVersion=${VERSION}" \
      -o /out/apixo-relay ./cmd/apixo-relay; \
    touch -d "@${SOURCE_DATE_EPOCH}" /out/apixo-relay /out/owned/data

FROM ${BASE_IMAGE}
COPY --from=build /out/apixo-relay /apixo-relay
# The folder around it, so that it keeps its time.
COPY --from=build --chown=65532:65532 /out/owned /

# In a container the loopback address is nobody's, so both endpoints are open to
# what can reach the container. That is why it does not start without
# RELAY_WEBHOOK_TOKENS. Publish 8720 alone: 8721 has health and metrics, and asks
# for no secret. As a sidecar that only its pod shall reach, set 127.0.0.1:8720.
ENV RELAY_LISTEN_ADDR=:8720 \
    RELAY_ADMIN_ADDR=:8721 \
    RELAY_DATA_DIR=/data
EXPOSE 8720 8721
# The embedded broker's events, or the outbox: all that is ever written.
VOLUME /data
# By number, so that Kubernetes can see that it is not root (runAsNonRoot).
USER 65532:65532
# Health, not readiness: whoever restarts what is unhealthy must not do so because
# the broker is away, which the relay waits for by itself.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["/apixo-relay", "check", "--probe", "health"]
ENTRYPOINT ["/apixo-relay"]

# Last, since they change with each build.
ARG VERSION=devel
ARG REVISION=""
ARG CREATED=""
LABEL org.opencontainers.image.title="apixo-relay" \
      org.opencontainers.image.description="Receives APIXO's webhooks and stores each as a CloudEvent in NATS JetStream" \
      org.opencontainers.image.source="https://github.com/apixo-relay/apixo-relay" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
