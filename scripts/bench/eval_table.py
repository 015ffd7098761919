#!/usr/bin/python3
"""Reads JSON lines of timed evaluations and prints the least time of each
program, the ratios, and the largest difference between their numbers."""
import json
import sys

NUMBERS = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]


def main():
    by_name = {}
    for line in sys.stdin:
        run = json.loads(line)
        by_name.setdefault(run["name"], []).append(run)
    least = {n: {k: min(r[k] for r in runs) for k in ("read_s", "measure_s")} for n, runs in by_name.items()}
    print(f"{'evaluator':<14}{'reading':>10}{'measuring':>12}{'AP':>20}")
    for name, t in least.items():
        print(f"{name:<14}{t['read_s']:>8.2f} s{t['measure_s']:>10.2f} s{by_name[name][0]['AP']:>20.15f}")
    ours = by_name["yoloprune"][0]
    print(f"reading: {ours['bytes'] / 1e6 / least['yoloprune']['read_s']:.0f} MB/s; memory at most {ours['peak_bytes'] / 1e6:.0f} MB")
    for name, runs in by_name.items():
        if name == "yoloprune":
            continue
        ratios = [least[name][k] / least["yoloprune"][k] for k in ("read_s", "measure_s")]
        print(f"{name} takes {ratios[0]:.1f} times as long to read and {ratios[1]:.1f} times to measure")
        worst = max(abs(ours[k] - runs[0][k]) for k in NUMBERS)
        print(f"the twelve numbers differ by {worst:.1e} at most")
        if worst > 1e-12:
            sys.exit("they must agree to 1e-12")


if __name__ == "__main__":
    main()
