# `make` alone lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
CARGO ?= cargo

# The OMA object registry, where a copy lies beside the repository; tests that need it are skipped elsewhere.
ifneq ($(wildcard ../shared/data/oma-registry/.),)
export OMA_REGISTRY ?= $(abspath ../shared/data/oma-registry)
endif

.PHONY: help
help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 20

.PHONY: demo
demo: ## Start a node with ten simulated devices; show telemetry and registrations
	@tools/demo

.PHONY: test
test: install-test-deps ## Install what the tests need, and run them all (minutes)
	$(CARGO) test --workspace --locked --no-fail-fast

.PHONY: soak
soak: install-test-deps ## Checks under full load, the benchmarks and the clean room; reports go to docs/soak
	@tools/soak

.PHONY: check
check: ## Formatting, clippy, documentation, licences
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items --locked
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny check bans licenses sources; \
	else echo "cargo-deny is not installed: licences not checked"; fi

.PHONY: advisories
advisories: ## Known vulnerabilities of what we depend on (needs cargo-deny and the network)
	$(CARGO) deny check advisories

.PHONY: bench
bench: ## Measure the parts, and the node against a bare UDP echo
	$(CARGO) bench --workspace --locked --bench '*'
	@tools/bench

.PHONY: fuzz-smoke
fuzz-smoke: ## Run each fuzz target for a few seconds (needs cargo-fuzz)
	@tools/fuzz-smoke

.PHONY: proto
proto: ## Compile the .proto files anew; no protoc is needed
	touch proto/build.rs
	$(CARGO) build -p godwit-proto --locked

.PHONY: docs
docs: ## Write the generated references in docs/ anew
	UPDATE_DOCS=1 $(CARGO) test -q -p godwit --locked --test documents
	UPDATE_DOCS=1 $(CARGO) test -q -p godwit-tests --locked --test interop table

.PHONY: install-test-deps
install-test-deps: ## Install what the tests need: Debian packages, Maven artifacts
	@tools/install-test-deps
