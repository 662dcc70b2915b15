# The image: one static program, the certificates of the public authorities, a user, and nothing else. No shell, no
# libraries, no package manager. Alpine is no base for it: the executor's library does not build for musl.
#
#   docker build -t dbbouncer .                                      compiles in the builder's image
#   docker build -t dbbouncer --build-arg PREBUILT=bin/dbbouncer .   takes the program that `make build` left
#
# Docker 23, podman 4 and buildah 1.24, or newer. The builder needs a shell, and to compile: cargo, make, git, a C compiler.
ARG BUILDER_IMAGE=docker.io/library/rust:1.95-bookworm

FROM ${BUILDER_IMAGE} AS builder
ARG PREBUILT=
ARG USER_ID=64532
WORKDIR /src
COPY . .
# Dependencies are downloaded and compiled once, and stay with the machine that builds. Our own files are always compiled
# again: cargo goes by their dates, which say little in an unpacked archive.
RUN --mount=type=cache,id=dbbouncer-registry,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=dbbouncer-target,target=/src/target,sharing=locked \
    test -n "$PREBUILT" || { find src shards configs -type f -exec touch {} + && make build && strip -g bin/dbbouncer; }
RUN mkdir -p /image/usr/bin /image/etc/ssl/certs /image/etc/dbbouncer /image/usr/share/doc/dbbouncer /image/var/lib/dbbouncer \
    && cp "${PREBUILT:-bin/dbbouncer}" /image/usr/bin/dbbouncer \
    && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
    && echo "dbbouncer:x:${USER_ID}:${USER_ID}:DBBouncer:/var/lib/dbbouncer:/usr/sbin/nologin" > /image/etc/passwd \
    && echo "dbbouncer:x:${USER_ID}:" > /image/etc/group \
    && cp LICENSE /image/usr/share/doc/dbbouncer/ \
    && chown "${USER_ID}:${USER_ID}" /image/var/lib/dbbouncer

FROM scratch
ARG VERSION=unknown
ARG REVISION=unknown
ARG USER_ID=64532
LABEL org.opencontainers.image.title="DBBouncer" \
      org.opencontainers.image.description="Multi-tenant connection pooler for PostgreSQL and MySQL on io_uring" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=builder /image /
# By number, so that Kubernetes can see that it is not root. The kernel counts locked memory by user, over all containers
# of a node: no other image should use this one.
USER ${USER_ID}:${USER_ID}
ENV DBBOUNCER_CONFIG=/etc/dbbouncer/config.yaml
EXPOSE 6432 3307 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/usr/bin/dbbouncer", "healthcheck"]
ENTRYPOINT ["/usr/bin/dbbouncer"]
