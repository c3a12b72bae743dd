# The base of the final image. The default has nothing in it, which is enough
# for the common path. Profiles with credential_process need a shell and the
# program that they name: --build-arg BASE=debian:bookworm-slim, or your own.
ARG BASE=scratch

FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
# The CA certificates are where Go looks last, as in the image of
# amazon-ecs-local-container-endpoints: a bundle of yours, mounted at one of the
# other places, wins.
# Volumes that are mounted at /state and /metadata take over their mode, so that
# any user of the container can write there.
RUN mkdir -p /out/etc/pki/ca-trust/extracted/pem /out/home /out/metadata /out/state /out/tmp && \
    chmod 1777 /out/metadata /out/state /out/tmp && \
    cp /etc/ssl/certs/ca-certificates.crt /out/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem && \
    CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$VERSION" -o /out/ecs-local .

FROM ${BASE}
COPY --from=build /out/ /
# Where the users of amazon-ecs-local-container-endpoints mount their ~/.aws.
ENV HOME=/home
ENV ECS_LOCAL_LISTEN=:80
ENV ECS_LOCAL_CONTROL_LISTEN=:51680
ENV ECS_LOCAL_INTROSPECTION_LISTEN=:51678
EXPOSE 80 51678 51680
USER 65532:65532
HEALTHCHECK --interval=2s --timeout=3s --start-period=10s --retries=5 CMD ["/ecs-local", "ready"]
ENTRYPOINT ["/ecs-local"]
