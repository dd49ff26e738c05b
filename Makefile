# make serve   add the wasm target, build, serve integers from the embedded store
# make test    add the target, install missing test servers, check formatting and lints, run all tests
# make bench   compile and run the benchmarks

CARGO ?= cargo
COMPONENTS := engine-memory engine-keyvalue engine-redis engine-mysql engine-rqlite engine-summitdb \
	intd config-bridge misbehaving noop
GUESTS := $(foreach package,$(COMPONENTS),--package $(package))
SKIPPED := target/skipped-tests.txt

.PHONY: serve test bench check lint toolchain servers docs

serve: toolchain
	$(CARGO) run --release --package int-host --bin int-host -- serve

test: toolchain servers check
	@mkdir -p target && rm -f $(SKIPPED)
	$(CARGO) build --package int-host --bin int-host
	$(CARGO) test --workspace
	@if [ -s $(SKIPPED) ]; then \
		echo; echo "skipped: $$(sort -u $(SKIPPED) | wc -l) tests that need a server which is not here:"; \
		sort -u $(SKIPPED) | sed 's/^/  /'; \
	fi

bench: toolchain
	$(CARGO) bench --package int-host

check: lint docs

lint: toolchain
	$(CARGO) fmt --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) clippy --target wasm32-wasip2 --target-dir target/components $(GUESTS) -- -D warnings

docs: toolchain
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items

# What rust-toolchain.toml names, also where rustup does not install it by itself.
toolchain:
	@if command -v rustup >/dev/null; then \
		rustup target list --installed | grep -qx wasm32-wasip2 || rustup target add wasm32-wasip2; \
	fi

servers:
	@tests/servers/install
