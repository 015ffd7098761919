#!/usr/bin/env bash
# Times a training step of YOLOv4-tiny against Debian's PyTorch, in turns on
# this machine, and prints the ratio. Variables: BATCH, SIZE, STEPS, THREADS,
# ROUNDS.
set -euo pipefail
cd "$(dirname "$0")/../.."

batch=${BATCH:-8} size=${SIZE:-416} steps=${STEPS:-8} threads=${THREADS:-2} rounds=${ROUNDS:-3}
python=/usr/bin/python3 # Debian's own: python3-torch is not there for others

if ! "$python" -c 'import torch' 2>/dev/null; then
	if ! command -v apt-get >/dev/null; then
		echo "bench: install PyTorch for $python, then run again" >&2
		exit 1
	fi
	root=()
	[ "$(id -u)" -eq 0 ] || root=(sudo)
	"${root[@]}" apt-get update -qq
	"${root[@]}" env DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 python3-torch
fi

go build -o bin/benchstep ./scripts/bench/step
flags=(--batch "$batch" --size "$size" --steps "$steps" --threads "$threads")
results=$(mktemp)
trap 'rm -f "$results"' EXIT
for round in $(seq "$rounds"); do
	echo "bench: round $round of $rounds" >&2
	bin/benchstep "${flags[@]}" >>"$results"
	"$python" scripts/bench/torch_step.py --format nchw "${flags[@]}" >>"$results"
	"$python" scripts/bench/torch_step.py --format nhwc "${flags[@]}" >>"$results"
done
"$python" scripts/bench/table.py <"$results"
