#!/usr/bin/env python3
"""Prints what scripts/demo found: demo_table.py sim FOLDER SEEDS, or demo_table.py kitti FOLDER FRAMES."""

import json
import statistics
import sys


def load(path):
    with open(path) as file:
        return json.load(file)


def sim(out, seeds):
    def metrics(name):
        return load(f"{out}/{name}.json")[0]["outcome"]["metrics"]

    def row(label, m):
        kitti = m.get("kitti/Car/3d/moderate/R40")
        print(
            f"{label:28s} {m['center_distance/mAP']:6.1f}   {m['center_distance/Car']:6.1f}"
            f" {m['center_distance/Pedestrian']:6.1f} {m['center_distance/Cyclist']:6.1f}"
            f"   {'' if kitti is None else f'{kitti:6.1f}'}"
        )

    print(f"{'':28s} {'mAP':>6s}   {'Car':>6s} {'Ped':>6s} {'Cyc':>6s}   KITTI Car 3D moderate AP_R40")
    row("teacher", metrics("teacher"))
    gains = []
    for seed in range(seeds):
        alone, distilled = metrics(f"none-{seed}"), metrics(f"all-{seed}")
        row(f"student alone, seed {seed}", alone)
        row(f"student distilled, seed {seed}", distilled)
        gains.append(distilled["center_distance/mAP"] - alone["center_distance/mAP"])
        print(f"{'  difference':28s} {gains[-1]:+6.1f}")
    if seeds > 1:
        print(f"mean gain {statistics.mean(gains):+.1f} +- {statistics.stdev(gains):.1f} mAP over {seeds} seeds")
    copy, last = load(f"{out}/evaluation.json"), load(f"{out}/all-{seeds - 1}.json")[0]["outcome"]
    own, pulled = last["metrics"]["center_distance/mAP"], copy["metrics"]["center_distance/mAP"]
    print(f"artifact {last['artifact']}@{last['artifact_digest']}")
    print(f"kdctl eval model of the pulled copy: {pulled:.4f} mAP, the worker said {own:.4f}")
    return 0 if abs(pulled - own) < 1e-9 else 1


def kitti(out, frames):
    print(f"centre-distance mAP and KITTI's 3D moderate AP on the {frames} frames that were also trained on")
    print(f"{'':26s} {'mAP':>6s}   {'Car R11':>8s} {'Car R40':>8s} {'Ped R11':>8s} {'Ped R40':>8s}")
    for label, name in [
        ("teacher", "teacher"),
        ("student alone", "student-alone"),
        ("student distilled", "student-distilled"),
        ("the labels themselves", "labels"),
    ]:
        own = (
            "" if name == "labels" else f"{load(f'{out}/{name}/evaluation.json')['metrics']['center_distance/mAP']:.1f}"
        )
        # KITTI scores only classes that were detected at all.
        strict = load(f"{out}/{name}/kitti.json").get("strict", {})
        figures = [
            f"{strict[kind]['3d']['moderate'][sampling]:8.2f}" if kind in strict else f"{'none':>8s}"
            for kind in ("Car", "Pedestrian")
            for sampling in ("R11", "R40")
        ]
        print(f"{label:26s} {own:>6s}   {' '.join(figures)}")
    print("KITTI samples precision at 11 or 40 recalls: on one or two objects even the labels reach a few points only")
    return 0


if __name__ == "__main__":
    sys.exit({"sim": sim, "kitti": kitti}[sys.argv[1]](sys.argv[2], int(sys.argv[3])))
