# The images of operator and agent: one program and the roots of trust, nothing else.
#
#   docker build -t …/tikv-security:0.1.0 .                    static: for all master keys but those in HSMs
#   docker build --target hsm -t …/tikv-security:0.1.0-hsm .   for HSMs: glibc's loader, to put a vendor's library on top
#                                                              (docs/kms-pkcs11.md)
#
# The bases are named by tag: their digests change with each security fix, and a digest that nobody watches is an old
# one. Who releases pins what was tested: docker build --build-arg BUILDER=…@sha256:… --build-arg BASE=…@sha256:… .
ARG BUILDER=docker.io/library/rust:1.95-bookworm
ARG BASE=gcr.io/distroless/static-debian12:nonroot
# With glibc, libgcc and libstdc++, which vendors' libraries are linked against; the builder's Debian.
ARG HSM_BASE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILDER} AS source
WORKDIR /source
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY benches benches
# rust-toolchain.toml stays outside: the builder has its compiler, and would fetch another one and tools for nothing.

FROM source AS build-hsm
RUN cargo build --release --locked --bin tikv-security && cp target/release/tikv-security /tikv-security

FROM ${HSM_BASE} AS hsm
COPY --from=build-hsm /tikv-security /tikv-security
USER 65532:65532
ENTRYPOINT ["/tikv-security"]

FROM source AS build
# A target is named so that build scripts and procedural macros are not linked statically as well.
RUN target="$(rustc -vV | sed -n 's/^host: //p')" \
    && RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --bin tikv-security --target "$target" \
    && cp "target/$target/release/tikv-security" /tikv-security \
    && ldd /tikv-security 2>&1 | grep -Eq "statically linked|not a dynamic"

# The last one is what is built when none is named.
FROM ${BASE}
COPY --from=build /tikv-security /tikv-security
USER 65532:65532
ENTRYPOINT ["/tikv-security"]
