#!/usr/bin/python3
"""Reads JSON lines of timed steps, given in rounds, and prints the ratios.

The ratio of a round is our minimum over the least of PyTorch's in that round,
so that both ran close in time. 1.0 or less: we take no longer.
"""
import json
import sys


def main():
    runs = [json.loads(line) for line in sys.stdin]
    for key in ("batch", "size", "threads", "params"):
        if len({r[key] for r in runs}) != 1:
            sys.exit(f"the runs differ in {key}: {[(r['name'], r[key]) for r in runs]}")
    names = list(dict.fromkeys(r["name"] for r in runs))
    by_name = {n: [r for r in runs if r["name"] == n] for n in names}
    print("yolov4-tiny training step: batch {batch}, {size}x{size}, {threads} threads, {params} parameters".format(**runs[0]))
    print(f"{'round':>5}  " + "  ".join(f"{n + ' min':>18}{'median':>11}" for n in names) + f"  {'ratio':>6}")
    ratios = []
    for i, group in enumerate(zip(*by_name.values()), 1):
        peers = [r["min_ms"] for r in group if r["name"].startswith("torch")]
        ours = next(r["min_ms"] for r in group if r["name"] == "yoloprune")
        ratios.append(ours / min(peers))
        cells = "  ".join(f"{r['min_ms']:>15.1f} ms{r['median_ms']:>8.1f} ms" for r in group)
        print(f"{i:>5}  {cells}  {ratios[-1]:>6.3f}")
    ratios.sort()
    print(f"ratio of the minima, ours to PyTorch's better format: median {ratios[len(ratios) // 2]:.3f}, "
          f"from {ratios[0]:.3f} to {ratios[-1]:.3f}")


if __name__ == "__main__":
    main()
