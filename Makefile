# What people do with this repository. `make test` is the whole test suite.

.PHONY: run test lint bench-compare bench-compare-quick fuzz

run:
	cargo run --release

# Rust first, then real clients against a node. The differential tests and the transcripts' oracle want
# redis-server and memcached, the clients' suites python3, node and php: what is missing is skipped and said so.
test:
	cargo test --workspace
	cargo build
	tests/clients/run

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	python3 .ci/licences
	command -v cargo-deny >/dev/null && cargo deny check || echo "cargo-deny is not installed: advisories were not looked up"

# Full: about ten minutes. Wants redis-server, memcached and nothing else running.
bench-compare:
	cargo build --profile dist
	cargo run --release --package shoal-compare -- all

bench-compare-quick:
	cargo build --profile dist
	cargo run --release --package shoal-compare -- all --quick

# A minute for each codec; needs a nightly compiler and cargo-fuzz.
fuzz:
	cd protocol && for target in resp_request resp_reply memcache memcache_binary; do \
		cargo +nightly fuzz run $$target -- -max_total_time=60 || exit 1; \
	done
