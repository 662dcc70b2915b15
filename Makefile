# The ways into this project. `make help` lists them.
# What needs a database gets a private, throw-away one (scripts/private-server); no system service is touched.

CARGO ?= cargo
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help build demo test test-cover lint fmt bench clean

help: ## Lists these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Builds bin/dbbouncer
	$(CARGO) build --release --locked --bin dbbouncer
	@mkdir -p bin
	@install -m 755 $(TARGET_DIR)/release/dbbouncer bin/dbbouncer

demo: ## Shows it working on private databases until Ctrl-C; ONCE=1 ends by itself
	@scripts/install-test-deps demo
	@$(MAKE) --no-print-directory build
	@scripts/demo $(if $(filter 1,$(ONCE)),--once)

test: ## Installs what the tests need and runs all of them
	@scripts/install-test-deps
	$(CARGO) test --workspace --locked
	DBBOUNCER_TEST_POOL_MODE=transaction $(CARGO) test --locked --test blackbox -- postgres \
		$$(awk '!/^#/ && NF {print "--skip", $$1}' tests/transaction-mode-differs.txt)

test-cover: ## Runs the tests and writes their coverage to target/llvm-cov/html
	@$(CARGO) llvm-cov --version >/dev/null 2>&1 || { \
		echo 'make test-cover needs cargo-llvm-cov: cargo install cargo-llvm-cov && rustup component add llvm-tools' >&2; exit 1; }
	@scripts/install-test-deps
	$(CARGO) llvm-cov test --workspace --locked --html

lint: ## Format, clippy, and the floors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	scripts/check-floors

fmt: ## Formats the code
	$(CARGO) fmt --all

bench: ## Measures DBBouncer beside its peers (results in target/bench); QUICK=1 takes two minutes
	@scripts/install-bench-peers
	@$(MAKE) --no-print-directory build
	$(CARGO) build --release --locked --package benches
	scripts/bench $(if $(filter 1,$(QUICK)),--quick)

clean: ## Removes what was built; databases and drivers stay in the cache folder
	$(CARGO) clean
	rm -rf bin
