FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev make && rm -rf /var/lib/apt/lists/*
WORKDIR /shoal
COPY . .
RUN cargo build --profile dist --bin shoal

FROM debian:bookworm-slim
RUN useradd --system --no-create-home --shell /usr/sbin/nologin shoal && install -d -o shoal -g shoal /data
COPY --from=build /shoal/target/dist/shoal /usr/local/bin/shoal
COPY conf/shoal.conf /etc/shoal.conf
USER shoal
# What a member of a cluster keeps is written here.
WORKDIR /data
EXPOSE 6379 11211
# Inside a container loopback reaches nobody: listen on all addresses and leave the fence to the container's network.
ENTRYPOINT ["shoal", "/etc/shoal.conf"]
CMD ["--bind", "* -::*", "--protected-mode", "no"]
