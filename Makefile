# make serve      add the wasm target, build, serve integers from the embedded store
# make test       add the target, install missing test servers, check formatting, lints and docs, run all tests
# make bench      load real servers, print one table that compares them with their yardsticks
# make criterion  time single calls of each layer and each engine
# make proto      generate the code of the gRPC service from proto/, after a change there
# make fuzz       feed hostile input to the parsers, a minute for each

CARGO ?= cargo
ENGINES := $(patsubst components/engines/%/Cargo.toml,engine-%,$(wildcard components/engines/*/Cargo.toml))
COMPONENTS := $(ENGINES) middleware-flake middleware-lease reducer-merge reducer-mints intd config-bridge misbehaving \
	broken-reducer noop
GUESTS := $(foreach package,$(COMPONENTS),--package $(package))
# The features with which `int-host` builds its own engines; see host/build.rs.
FEATURES := $(foreach feature,tls sockets,$(patsubst components/engines/%/Cargo.toml,engine-%/$(feature),$(shell grep -l '^$(feature) = ' components/engines/*/Cargo.toml)))
OUTSIDE := examples/engine/Cargo.toml examples/reducer/Cargo.toml
FUZZ := fuzz/Cargo.toml
FUZZ_SECONDS ?= 60
HOST_TRIPLE = $(shell rustc -vV | sed -n 's/^host: //p')
# What `cargo fuzz` sets without a sanitizer, which needs no other toolchain than that of the workspace.
FUZZ_FLAGS := --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Coverflow-checks -Ccodegen-units=1
TARGET := $(or $(CARGO_TARGET_DIR),target)
SKIPPED := target/skipped-tests.txt
# The runs of the simulation, see docs/quorum.md.
SEEDS ?= 10000

.PHONY: serve test bench criterion proto fuzz check lint toolchain servers docs

serve: toolchain
	$(CARGO) run --release --package int-host --bin int-host -- serve

test: toolchain servers check
	@mkdir -p target && rm -f $(SKIPPED)
	SEEDS=$(SEEDS) INT_HOST=$(abspath $(TARGET))/debug/int-host $(CARGO) test --workspace
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

proto:
	$(CARGO) run --manifest-path proto/generate/Cargo.toml --target-dir target/proto

# New inputs are kept in target/fuzz-corpus, and one that fails is written beside them.
fuzz:
	RUSTFLAGS="$(FUZZ_FLAGS)" $(CARGO) build --release --manifest-path $(FUZZ) --target-dir target/fuzz --target $(HOST_TRIPLE)
	@for target in dsn http resp; do \
		mkdir -p target/fuzz-corpus/$$target; \
		target/fuzz/$(HOST_TRIPLE)/release/$$target -max_total_time=$(FUZZ_SECONDS) -timeout=5 -max_len=70000 -verbosity=0 \
			-print_final_stats=1 -artifact_prefix=target/fuzz-corpus/$$target- \
			target/fuzz-corpus/$$target fuzz/corpus/$$target || exit 1; \
	done

check: lint docs

lint: toolchain
	$(CARGO) fmt --check
	$(foreach manifest,$(OUTSIDE),$(CARGO) fmt --check --manifest-path $(manifest) &&) true
	$(CARGO) fmt --check --manifest-path $(FUZZ)
	$(CARGO) fmt --check --manifest-path proto/generate/Cargo.toml
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked --target wasm32-wasip2 --target-dir target/components $(GUESTS) -- -D warnings
	$(CARGO) clippy --locked --target wasm32-wasip2 --target-dir target/components $(GUESTS) --features "$(FEATURES)" -- -D warnings
	$(foreach manifest,$(OUTSIDE),$(CARGO) clippy --locked --target wasm32-wasip2 --target-dir target/outside --manifest-path $(manifest) -- -D warnings &&) true
	$(CARGO) clippy --locked --target-dir target/fuzz --manifest-path $(FUZZ) -- -D warnings

docs: toolchain
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items

# Adds the target of rust-toolchain.toml where rustup does not install it automatically.
toolchain:
	@if command -v rustup >/dev/null; then \
		rustup target list --installed | grep -qx wasm32-wasip2 || rustup target add wasm32-wasip2; \
	fi

servers:
	@testbed/servers/install
