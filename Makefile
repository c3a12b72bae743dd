# Targets of ecs-local; `make help` lists them. Tools are pinned here and built
# into build/bin, so that go.mod holds only what the program itself needs.

BUILD   := $(CURDIR)/build
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
IMAGE   ?= ecs-local
BASE    ?= scratch
LDFLAGS := -s -w -X main.version=$(VERSION)

GOLANGCI_VERSION := v2.15.0
GOLANGCI := $(BUILD)/bin/golangci-lint-$(GOLANGCI_VERSION)/golangci-lint
COMPOSE  := $(BUILD)/bin/docker-compose

FUZZTIME  ?= 1m
BENCHTIME ?= 1s
IMDSSOAK  ?= 1m

export ECS_LOCAL_BUILD := $(BUILD)
export AWS_EC2_METADATA_DISABLED := true

build: ## build the static binary bin/ecs-local
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/ecs-local .
.PHONY: build

run: build ## build, then serve; more arguments in ARGS
	bin/ecs-local serve $(ARGS)
.PHONY: run

test: unit fuzz-short e2e ## all tests; starts a Docker engine where there is none, if it may
.PHONY: test

unit: ## the tests that need no Docker
	go test -race ./...
.PHONY: unit

e2e: ## the tests with a real Docker engine and Compose
	@scripts/e2e.sh
.PHONY: e2e

netem: ## the tests of real faults on an emulated machine whose kernel can do all; needs root on Debian
	@scripts/netem.sh
.PHONY: netem

check: $(GOLANGCI) ## format, vet, lint, tidy and the tests that need no Docker
	@test -z "$$(gofmt -l . | tee /dev/stderr)" || { echo 'run gofmt -w on these files' >&2; exit 1; }
	@set -e; for module in . e2e; do \
		test -f $$module/go.mod || continue; \
		echo "vet, lint and tidy: $$module"; \
		(cd $$module && go vet ./... && $(GOLANGCI) run --config $(CURDIR)/.golangci.yml ./... && go mod tidy -diff); \
	done
	@echo 'vet and lint: e2e/consumers' # compiled as for its tests, so that what it needs is compiled once
	@cd e2e/consumers && export CGO_ENABLED=0 GOFLAGS='$(GOFLAGS) -trimpath' && \
		go vet ./... && $(GOLANGCI) run --config $(CURDIR)/.golangci.yml ./...
	go test -race ./...
.PHONY: check

bench: build ## benchmarks, and speed against a bare handler; more arguments in ARGS
	go test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) ./...
	go test -race -v -run '^(TestIMDSUnderLoad|TestTokensTakeNoMemory)$$' ./handlers -imds.soak $(IMDSSOAK) -imds.tokens 1000000
	@scripts/docker-engine.sh start
	cd e2e && go run ./bench -program $(CURDIR)/bin/ecs-local $(ARGS)
.PHONY: bench

fuzz: ## each fuzz test for FUZZTIME
	@scripts/fuzz.sh $(FUZZTIME)
.PHONY: fuzz

fuzz-short: ## each fuzz test for ten seconds, as part of `make test`
	@scripts/fuzz.sh 10s
.PHONY: fuzz-short

cover: ## which lines the tests that need no Docker reach
	@mkdir -p $(BUILD)
	go test -coverpkg ./... -coverprofile $(BUILD)/cover.out ./...
	go tool cover -func $(BUILD)/cover.out | tail -n 1
	go tool cover -html $(BUILD)/cover.out -o $(BUILD)/cover.html
.PHONY: cover

image: ## build the container image; BASE=debian:bookworm-slim adds a shell
	@scripts/base-image.sh
	docker build --build-arg VERSION=$(VERSION) --build-arg BASE=$(BASE) --tag $(IMAGE) .
.PHONY: image

compose: $(COMPOSE) ## build Docker Compose, as pinned in tools/compose, into build/bin
.PHONY: compose

engine: ## make sure that a Docker engine answers
	@scripts/docker-engine.sh start
.PHONY: engine

engine-stop: ## end the Docker engine that `make engine` or `make test` started
	@scripts/docker-engine.sh stop
.PHONY: engine-stop

clean: engine-stop ## remove what these targets made
	rm -rf bin build
.PHONY: clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
.PHONY: help

$(GOLANGCI):
	GOBIN=$(@D) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)

# Compose shows the version that it is given here. Its own number is in go.mod.
$(COMPOSE): tools/compose/go.mod tools/compose/go.sum
	cd tools/compose && CGO_ENABLED=0 go build -trimpath -buildvcs=false \
		-ldflags "-s -w -X github.com/docker/compose/v2/internal.Version=$$(go list -m -f '{{.Version}}' github.com/docker/compose/v2)" \
		-o $@ github.com/docker/compose/v2/cmd
