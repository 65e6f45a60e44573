# Every target is what a developer types and what CI runs. `make` alone lists them.

.DEFAULT_GOAL := help
SHELL := /bin/sh
CARGO ?= cargo
# flags that keep a build to the committed lock file
LOCKED := --locked
# the oldest go command whose protocol the tests speak
GO_MINOR := 22
# how much make policy-proof proves
CASES ?= 10000000
MUTATIONS ?= 200000

.PHONY: alerts boards fault-run audit-month pictures help run test demo bench audit-kills policy-proof fmt lint docs contracts unit it deny
.PHONY: setup clean leaks

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z -]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## build the release and serve on https://localhost:8443, no other service needed
	$(CARGO) run $(LOCKED) --release -- serve --dev

test: setup ## everything a change must pass: format, lints, docs, contracts, unit, integration
	@$(MAKE) --no-print-directory fmt-check lint docs contracts unit it

.PHONY: fmt-check
fmt-check:
	@echo '== format'
	$(CARGO) fmt --check

fmt: ## format the sources
	$(CARGO) fmt

lint: ## clippy on all targets, warnings are errors; and the library without its default features
	@echo '== clippy'
	$(CARGO) clippy $(LOCKED) --all-targets -- -D warnings
	$(CARGO) clippy $(LOCKED) --no-default-features -- -D warnings

docs: ## the architecture page and all others, warnings are errors
	@echo '== docs'
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc $(LOCKED) --no-deps --document-private-items

contracts: ## layers, shape, documents, manifest: the sources read as text
	@echo '== contracts'
	$(CARGO) test $(LOCKED) --test contracts

alerts boards: ## write what stands in alerts/ and dashboards/ from its sources
	MODGATE_WRITE=1 $(CARGO) test $(LOCKED) --test contracts the_tree_keeps_every_rule

unit: ## the library's own tests, and its doctests
	@echo '== unit'
	$(CARGO) test $(LOCKED) --lib
	$(CARGO) test $(LOCKED) --doc

it: ## the product through its front door: the binary, sockets, a real go command
	@echo '== integration'
	$(CARGO) test $(LOCKED) --test it

demo: setup ## a real go command downloads real modules through the gateway (needs a public proxy)
	$(CARGO) bench $(LOCKED) --bench demo

bench: setup ## memory while eight clients take a 200 MiB zip; time to recognise a caller, and to decide; hit ratio and time of each tier; the audit's cost; the price of being observed
	$(CARGO) bench $(LOCKED) --bench large_zip
	$(CARGO) bench $(LOCKED) --bench identity
	$(CARGO) bench $(LOCKED) --bench policy
	$(CARGO) bench $(LOCKED) --bench cache
	$(CARGO) bench $(LOCKED) --bench audit
	$(CARGO) bench $(LOCKED) --bench observability

audit-month: setup ## ask a month of records, RECORDS=n an hour (ten million a day unless said otherwise: 40 GB, half an hour), kept in DIR if given
	$(CARGO) bench $(LOCKED) --bench audit -- month $${RECORDS:-416667} $(if $(DIR),$(abspath $(DIR)))

fault-run: setup ## inject every fault, or FAULTS='some|of|them', and print after how many seconds its alerts fire and are over
	$(CARGO) bench $(LOCKED) --bench fault_run -- $(if $(FAULTS),'$(FAULTS)')

pictures: ## draw the boards that fault-run saw, with Grafana's own components (needs chromium and npm)
	sh tests/draw/draw.sh

policy-proof: ## the proofs of the policy at length: CASES decisions compared, MUTATIONS bytes changed
	MODGATE_POLICY_CASES=$(CASES) MODGATE_POLICY_MUTATIONS=$(MUTATIONS) \
		$(CARGO) test $(LOCKED) --release --lib policy::tests -- --nocapture

leaks: ## 20,000 mixed requests with faults: a recording public upstream hears no private name
	MODGATE_LEAK_REQUESTS=20000 $(CARGO) test $(LOCKED) --test it leaks -- --nocapture

audit-kills: setup ## kill the gateway in the middle of writes, 500 times or KILLS=n, and verify its audit
	MODGATE_TEST_KILLS=$${KILLS:-500} $(CARGO) test $(LOCKED) --test it kills_leave_a_log

deny: ## licences, bans, sources and advisories (needs cargo-deny)
	$(CARGO) deny check

setup: ## install what building and testing need, where it is missing
	@sh tests/setup.sh $(GO_MINOR)

clean: ## remove what was built; keys and tokens in .modgate/ stay
	$(CARGO) clean
