# Builds the relay and puts nothing else into the image.
#
#   docker build -t apixo-relay .
#   docker run -e RELAY_WEBHOOK_TOKENS=... -e RELAY_LISTEN_ADDR=:8720 -p 8720:8720 -v relay:/data apixo-relay

ARG BUILD_IMAGE=golang:1.26
ARG BASE_IMAGE=gcr.io/distroless/static-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=devel
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.linkedVersion=${VERSION}" -o /out/apixo-relay ./cmd/apixo-relay \
 && mkdir -p /out/data

FROM ${BASE_IMAGE}
COPY --from=build /out/apixo-relay /apixo-relay
COPY --from=build --chown=65532:65532 /out/data /data
ENV RELAY_DATA_DIR=/data
USER 65532:65532
VOLUME /data
EXPOSE 8720
ENTRYPOINT ["/apixo-relay"]
