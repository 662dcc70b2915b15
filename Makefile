# The ways into this project. `make help` lists them.
# What needs a database gets a private, throw-away one (scripts/private-server); no system service is touched.

CARGO ?= cargo
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)

# The program holds its C library, so that it runs on every Linux, of whatever release and in an empty container. Said to
# the program's own crate alone: what runs while compiling stays dynamic, and so do the tests.
STATIC := -C target-feature=+crt-static

VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
REVISION = $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
IMAGE ?= dbbouncer:$(VERSION)
IMAGE_BUILDER ?= $(firstword $(foreach tool,docker podman buildah,$(if $(shell which $(tool) 2>/dev/null),$(tool))))

# Whoever builds the package answers for it: by Debian's own variables, or as git knows the builder, who is asked once and
# for the package alone.
MAINTAINER ?= $(eval MAINTAINER := $(or $(DEBFULLNAME),$(shell git config user.name 2>/dev/null)) <$(or $(DEBEMAIL),$(shell git config user.email 2>/dev/null))>)$(MAINTAINER)

deb: export ANSWERS_FOR_IT = $(MAINTAINER)

.PHONY: help build demo test test-cover lint fmt bench image docker-build deb clean

help: ## Lists these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Builds bin/dbbouncer
	$(CARGO) rustc --release --locked --bin dbbouncer -- $(STATIC)
	@mkdir -p bin
	@install -m 755 $(TARGET_DIR)/release/dbbouncer bin/dbbouncer

demo: ## Shows it working on private databases until Ctrl-C; ONCE=1 ends by itself
	@scripts/install-test-deps demo
	@$(MAKE) --no-print-directory build
	@scripts/demo $(if $(filter 1,$(ONCE)),--once)

test: ## Installs what the tests need and runs all of them
	@scripts/install-test-deps
	@$(MAKE) --no-print-directory build
	$(CARGO) test --workspace --locked
	DBBOUNCER_TEST_POOL_MODE=transaction $(CARGO) test --workspace --locked --test blackbox -- postgres \
		$$(awk '!/^#/ && NF {print "--skip", $$1}' tests/transaction-mode-differs.txt)

test-cover: ## Runs the tests and writes their coverage to target/llvm-cov/html
	@$(CARGO) llvm-cov --version >/dev/null 2>&1 || { \
		echo 'make test-cover needs cargo-llvm-cov: cargo install cargo-llvm-cov && rustup component add llvm-tools' >&2; exit 1; }
	@scripts/install-test-deps
	$(CARGO) llvm-cov test --workspace --locked --html

lint: ## Format, clippy, the floors, scripts, and what dependencies may be
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	scripts/check-floors
	scripts/check-dependencies
	scripts/check-scripts

fmt: ## Formats the code
	$(CARGO) fmt --all

bench: ## Measures DBBouncer beside its peers (results in target/bench); QUICK=1 takes three minutes
	@scripts/install-bench-peers
	@$(MAKE) --no-print-directory build
	$(CARGO) build --release --locked --package benches
	scripts/bench $(if $(filter 1,$(QUICK)),--quick)

# The format is Docker's, for that of OCI knows no health check.
image: ## Builds the container image IMAGE with docker, podman or buildah, compiling inside; PREBUILT=bin/dbbouncer does not
	@[ -n "$(IMAGE_BUILDER)" ] || { echo 'make image needs docker, podman or buildah' >&2; exit 1; }
	$(IMAGE_BUILDER) build $(if $(filter podman buildah,$(notdir $(IMAGE_BUILDER))),--format docker) -t $(IMAGE) --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) \
		$(if $(PREBUILT),--build-arg PREBUILT=$(PREBUILT)) $(if $(BUILDER_IMAGE),--build-arg BUILDER_IMAGE=$(BUILDER_IMAGE)) .

docker-build: image ## The same as image

deb: build ## Builds a Debian package into target/debian
	@$(CARGO) deb --version >/dev/null 2>&1 || { echo 'make deb needs cargo-deb: cargo install --locked cargo-deb' >&2; exit 1; }
	@case "$$ANSWERS_FOR_IT" in ?*' <'?*@?*'>') ;; *) \
		echo 'make deb: who answers for the package? DEBFULLNAME=... DEBEMAIL=... make deb' >&2; exit 1 ;; esac
	@rm -rf target/deb && mkdir -p target/deb/bin target/deb/man
	install -m 755 -s bin/dbbouncer target/deb/bin/dbbouncer
	bin/dbbouncer man --dir target/deb/man
	bin/dbbouncer completions bash >target/deb/dbbouncer
	bin/dbbouncer completions zsh >target/deb/_dbbouncer
	bin/dbbouncer completions fish >target/deb/dbbouncer.fish
	scripts/debian-changelog '$(VERSION)-1' "$$ANSWERS_FOR_IT" >target/deb/changelog
	$(CARGO) deb --no-build --locked --maintainer "$$ANSWERS_FOR_IT"

clean: ## Removes what was built; databases and drivers stay in the cache folder
	$(CARGO) clean
	rm -rf bin
