# What people do with this repository. `make test` is the whole test suite.

.PHONY: run cluster test sim lint bench-compare bench-compare-quick fuzz miri

run:
	cargo run --release

# Three nodes on this machine, on ports 6379 to 6381, until it is interrupted; PORT=7001 has them use 7001 to 7003.
cluster:
	cargo build --release
	conf/three-nodes target/release/shoal $(PORT)

# Rust first, then real clients against a node. The differential tests and the transcripts' oracle want
# redis-server and memcached, the clients' suites python3, node, php, ruby, perl and gcc: what is missing is skipped and said so.
test:
	cargo test --workspace --no-fail-fast
	cargo build
	tests/clients/run

# A cluster in one thread, by so many seeds: what goes wrong in each follows from its seed.
SEEDS ?= 1000
FIRST ?= 1

sim:
	SHOAL_SIM_SEEDS=$(SEEDS) SHOAL_SIM_FIRST=$(FIRST) cargo test --test sim -- --nocapture

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	python3 .ci/licences
	if command -v cargo-deny >/dev/null; then .ci/deny; else echo "cargo-deny is not installed: advisories were not looked up"; fi

# Full: about a quarter of an hour. Wants redis-server, memcached and nothing else running.
bench-compare:
	cargo build --profile dist
	cargo run --release --package shoal-compare -- all

bench-compare-quick:
	cargo build --profile dist
	cargo run --release --package shoal-compare -- all --quick

# A minute for each codec; needs a nightly compiler and cargo-fuzz. `make -j3 fuzz` runs them side by side. It begins with the inputs
# in protocol/fuzz/corpus and keeps what it finds in target/fuzz.
FUZZ_SECONDS ?= 60
FUZZ_TARGETS := $(basename $(notdir $(wildcard protocol/fuzz/fuzz_targets/*.rs)))

fuzz: $(FUZZ_TARGETS:%=fuzz-%)

fuzz-%:
	mkdir -p target/fuzz/$*
	cd protocol && cargo +nightly fuzz run $* ../target/fuzz/$* fuzz/corpus/$* -- -max_total_time=$(FUZZ_SECONDS)

# The unsafe code of the store under Miri, which knows what the compiler may assume of it; needs a nightly compiler with miri.
miri:
	MIRIFLAGS="-Zmiri-disable-isolation" cargo +nightly miri test --lib -- $(MIRI_TESTS)

MIRI_TESTS ?= store::entry
