#!/usr/bin/env python3
"""What a distillation step costs, as a ratio to the same student's plain step.

    scripts/bench kd-step [--rounds 5] [--out out/kd-step]

Interleaves, round by round: the plain step; the step fed by a teacher server whose cache holds every response; the step
with the teacher in the worker's own process. Same student, frames, views and batch. A run's time per step is taken
between its first and last progress lines, so starting and evaluating do not count. Prints one JSON object per ratio.
"""

import argparse
import datetime
import json
import os
import re
import shutil
import statistics
import subprocess
import sys

from kd_table import Table, pair

STUDENT = "w1/4"
EPOCHS = 3
PROGRESS = re.compile(r"^(\S+) kd-worker info step (\d+)/")


def seconds_per_step(log):
    points = []
    with open(log) as file:
        for match in filter(None, map(PROGRESS.match, file)):
            points.append((datetime.datetime.fromisoformat(match[1]), int(match[2])))
    if len(points) < 2 or points[-1][1] == points[0][1]:
        raise SystemExit(f"kd-step: too few progress lines in {log}")
    return (points[-1][0] - points[0][0]).total_seconds() / (points[-1][1] - points[0][1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", default="out/kd-step")
    parser.add_argument("--bin", default="build/release/bin", help="folder of the programs")
    arguments = parser.parse_args()
    table = Table(arguments)
    if not os.path.exists(os.path.join(table.root, "ImageSets", "val.txt")):
        subprocess.run(
            [table.program("kdctl"), "data", "simulate", "--out", table.root, "--train", "400", "--val", "8"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    table.train("teacher", pair("teacher", table.root, 0, 1))
    server, address = table.serve()
    times = {"plain": [], "fleet": [], "in-process": []}

    def run(name, row, service):
        folder = os.path.join(table.out, name)
        shutil.rmtree(folder, ignore_errors=True)
        table.train(name, pair(name, table.root, 0, EPOCHS, STUDENT, row, table.teacher), service)
        return seconds_per_step(os.path.join(folder, "log"))

    try:
        run("warm-up", "pivotal + label", address)
        for _ in range(arguments.rounds):
            times["plain"].append(run("plain", "none", None))
            times["fleet"].append(run("fleet", "pivotal + label", address))
            times["in-process"].append(run("in-process", "pivotal + label", None))
    finally:
        server.terminate()
        server.wait()
    for name, goal in (("fleet", 1.10), ("in-process", None)):
        ratios = [a / b for a, b in zip(times[name], times["plain"])]
        print(
            json.dumps(
                {
                    "name": f"kd-step.{name}",
                    "value": round(statistics.median(ratios), 3),
                    "goal": goal,
                    "better": "lower",
                    "unit": "ratio",
                    "median_of": len(ratios),
                    "min": round(min(ratios), 3),
                    "max": round(max(ratios), 3),
                }
            )
        )
    print(f"[kd-step] plain step: {1000 * statistics.median(times['plain']):.1f} ms", file=sys.stderr)


if __name__ == "__main__":
    main()
