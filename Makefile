# What the targets do:
#   build      bin/yoloprune
#   demo       the whole pipeline on drawn images, with a report at the end
#   test       all tests but those that take long
#   test-long  all tests
#   bench      a training step against PyTorch, the evaluator against cocoeval.py
#   lint       gofmt, go vet, staticcheck
#   fuzz       every fuzz target for FUZZTIME
#   setup      install what the build needs (Debian, Ubuntu)
#   clean      remove what the targets made, runs excepted

FUZZTIME    ?= 10s
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.6.1

.PHONY: all build demo test test-long bench lint fuzz setup clean

all: build

setup:
	./scripts/setup.sh

build:
	go build -o bin/yoloprune ./cmd/yoloprune

demo: setup build
	bin/yoloprune run configs/toy.yaml --out runs

# Packages are tested side by side, and OpenMP threads that spin while they wait
# would take the cores from each other.
test test-long fuzz: export OMP_WAIT_POLICY ?= PASSIVE

# -count=1: the cache of results knows nothing of the C libraries and of data
# outside of the project.
test: setup
	go test -short -count=1 -timeout 12m ./...

test-long: setup
	go test -count=1 -timeout 3h ./...

bench: setup
	./scripts/bench/bench.sh
	./scripts/bench/eval.sh

lint:
	@unformatted=$$(gofmt -l .); \
	if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go run $(STATICCHECK) ./...

# Go runs one fuzz target of one package at a time.
fuzz:
	@grep -roE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sort | \
	while IFS=: read -r file function; do \
		package=$$(dirname "$$file"); target=$${function#func }; \
		echo "$$package $$target"; \
		go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$package" </dev/null || exit 1; \
	done

clean:
	rm -rf bin
	go clean -testcache
