# make serve      add the wasm target, build, serve integers from the embedded store
# make test       add the target, install missing test servers, check formatting, lints and docs, run all tests
# make bench      load real servers, print one table that compares them with their yardsticks
# make criterion  time single calls of each layer and each engine

CARGO ?= cargo
ENGINES := $(patsubst components/engines/%/Cargo.toml,engine-%,$(wildcard components/engines/*/Cargo.toml))
COMPONENTS := $(ENGINES) middleware-flake middleware-lease intd config-bridge misbehaving noop
GUESTS := $(foreach package,$(COMPONENTS),--package $(package))
OUTSIDE := examples/engine/Cargo.toml
TARGET := $(or $(CARGO_TARGET_DIR),target)
SKIPPED := target/skipped-tests.txt

.PHONY: serve test bench criterion check lint toolchain servers docs

serve: toolchain
	$(CARGO) run --release --package int-host --bin int-host -- serve

test: toolchain servers check
	@mkdir -p target && rm -f $(SKIPPED)
	INT_HOST=$(abspath $(TARGET))/debug/int-host $(CARGO) test --workspace
	@if [ -s $(SKIPPED) ]; then \
		echo; echo "skipped: $$(sort -u $(SKIPPED) | wc -l) tests that need a server which is not installed:"; \
		sort -u $(SKIPPED) | sed 's/^/  /'; \
	fi

# BENCH has options of the program, such as BENCH="--quick" or BENCH="--only serve --engines redis".
bench: toolchain servers
	$(CARGO) build --release --package int-host --bin int-host
	$(CARGO) build --release --package bench --bins
	INT_HOST=$(TARGET)/release/int-host $(TARGET)/release/bench $(BENCH)

# CRITERION has names of benches and options of criterion, such as CRITERION="--bench engines -- redis".
criterion: toolchain servers
	$(CARGO) bench --package bench $(CRITERION)

check: lint docs

lint: toolchain
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path $(OUTSIDE)
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) clippy --target wasm32-wasip2 --target-dir target/components $(GUESTS) -- -D warnings
	$(CARGO) clippy --target wasm32-wasip2 --target-dir target/outside --manifest-path $(OUTSIDE) -- -D warnings

docs: toolchain
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items

# Adds the target of rust-toolchain.toml where rustup does not install it automatically.
toolchain:
	@if command -v rustup >/dev/null; then \
		rustup target list --installed | grep -qx wasm32-wasip2 || rustup target add wasm32-wasip2; \
	fi

servers:
	@testbed/servers/install
