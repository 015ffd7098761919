#!/usr/bin/env bash
# Times the evaluator on a made-up set of the size of COCO val2017, and beside it
# the reference, cocoeval.py in numpy, when it is at hand; their twelve numbers
# must agree. Variables: COCOEVAL, the path of cocoeval.py; SCALE, how many times
# the size of val2017; ROUNDS.
#
# This project does not contain cocoeval.py. To get it:
#   curl -LO https://raw.githubusercontent.com/cocodataset/cocoapi/8c9bcc3cf640/PythonAPI/pycocotools/cocoeval.py
#   COCOEVAL=cocoeval.py scripts/bench/eval.sh
# It needs Debian's python3-numpy.
set -euo pipefail
cd "$(dirname "$0")/../.."

scale=${SCALE:-1} rounds=${ROUNDS:-3} reference=${COCOEVAL:-}
python=${PYTHON:-/usr/bin/python3}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
go build -o bin/benchevalset ./scripts/bench/evalset
echo "bench: making a set $scale times the size of COCO val2017" >&2
bin/benchevalset --out "$folder" --scale "$scale"

compare=no
if [ -z "$reference" ]; then
	echo "bench: COCOEVAL is not set, so there is no comparison; scripts/bench/eval.sh says how to get cocoeval.py" >&2
elif ! "$python" -c 'import numpy' 2>/dev/null; then
	echo "bench: $python has no numpy (apt install python3-numpy), so there is no comparison" >&2
else
	compare=yes
fi

results=$folder/results
for round in $(seq "$rounds"); do
	echo "bench: round $round of $rounds" >&2
	bin/benchevalset --time --out "$folder" >>"$results"
	if [ "$compare" = yes ]; then
		"$python" scripts/bench/coco_eval.py "$reference" "$folder/annotations.json" "$folder/detections.json" >>"$results" 2>/dev/null
	fi
done
"$python" scripts/bench/eval_table.py <"$results"
