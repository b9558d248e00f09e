#!/usr/bin/env python3
"""Distillation gains on the simulated benchmark: every row, student and seed, with the limits that they must keep.

    scripts/bench kd-table --scale sim-standard [--seeds 3] [--out out/kd-table] [--jobs 2]

sim-demo: student w1/4, 500 steps, rows none and all. sim-standard: three students, 1000 steps, five rows. The teacher
has 1000 steps in both. Every run uses one thread and the same four views; a finished run is not run again. Prints one
JSON object per limit and writes OUT/SCALE.md.
"""

import argparse
import concurrent.futures
import json
import os
import statistics
import subprocess
import sys
import time

VIEWS = 4
THREADS = 1
TEACHER_EPOCHS = 10

STUDENTS = {
    # name: (compress, weight of the pivotal logit loss)
    "w1/4": ("{width: {pfn: 0.5, backbone: 0.25, neck: 0.25, head: 0.25}}", 15),
    "w1/2": ("{width: {pfn: 0.5, backbone: 0.5, neck: 0.5, head: 0.5}}", 10),
    "x2 pillar": ("{resolution: 0.5}", 7),
}
ROWS = {
    # name: (pivotal, label, inheritance)
    "none": (False, False, False),
    "pivotal": (True, False, False),
    "pivotal + label": (True, True, False),
    "inheritance": (False, False, True),
    "all": (True, True, True),
}
SCALES = {
    # name: (students, rows, epochs)
    "sim-demo": (["w1/4"], ["none", "all"], 5),
    "sim-standard": (list(STUDENTS), list(ROWS), 10),
}
# Least mean gain over the row "none", in mAP.
LIMITS = {
    "sim-demo": {("w1/4", "all"): 8},
    "sim-standard": {
        ("w1/4", "all"): 4,
        ("w1/2", "all"): 4,
        ("x2 pillar", "all"): 4,
        ("w1/4", "pivotal + label"): 2,
        ("w1/4", "inheritance"): 2,
    },
}
HEADROOM = 4


def pair(name, root, seed, epochs, student=None, row=None, teacher=None):
    lines = ["apiVersion: kd/v1", "kind: Pair", f"metadata: {{name: {name}}}"]
    pivotal, label, inherit = ROWS[row] if row else (False, False, False)
    if pivotal or label or inherit:
        lines.append(f'teacher: {{weights: "{teacher}"}}')
    lines += ["student:", "  model: centerpoint_pillar_sim"]
    if student:
        compress, weight = STUDENTS[student]
        lines.append(f"  compress: {compress}")
        if inherit:
            lines.append("  init: {from: teacher, strategy: first_channels}")
    lines += [
        "data:",
        "  format: kitti",
        f'  root: "{root}"',
        f"  views: {VIEWS}",
        "  class_names: [Car, Pedestrian, Cyclist]",
        "  augmentation: {rotation: 0.39}",
    ]
    if pivotal or label:
        lines.append("distill:")
    if pivotal:
        lines.append(f"  - {{method: pivotal_logits, weight: {weight}, top_k: 500}}")
    if label:
        lines.append("  - {method: label, score_thresh: [0.6, 0.5, 0.5]}")
    lines += [
        f"train: {{epochs: {epochs}, batch_size: 4, lr: 1.0e-2, seed: {seed}, threads: {THREADS}}}",
        "eval: {metric: center_distance}",
    ]
    return "\n".join(lines) + "\n"


class Table:
    def __init__(self, arguments):
        self.arguments = arguments
        self.out = os.path.abspath(arguments.out)
        self.root = os.path.join(self.out, "sim")
        self.teacher = os.path.join(self.out, "teacher", "model.safetensors")

    def program(self, name):
        return os.path.join(self.arguments.bin, name)

    def train(self, name, text, address=None):
        """Trains unless the same job has been trained here before; returns its metrics."""
        folder = os.path.join(self.out, name)
        os.makedirs(folder, exist_ok=True)
        done = os.path.join(folder, "pair.done.yaml")
        metrics = os.path.join(folder, "metrics.json")
        if not (os.path.exists(done) and open(done).read() == text and os.path.exists(metrics)):
            path = os.path.join(folder, "pair.yaml")
            with open(path, "w") as file:
                file.write(text)
            command = [self.program("kd-worker"), "train-alone", "--pair", path, "--folder", folder]
            if address and "teacher:" in text:
                command += ["--teacher", address]
            started = time.time()
            with open(os.path.join(folder, "log"), "w") as log:
                if subprocess.run(command, stdout=subprocess.DEVNULL, stderr=log).returncode != 0:
                    raise SystemExit(f"kd-table: {name} failed; read {log.name}")
            os.replace(path, done)
            print(f"[kd-table] {name}: {time.time() - started:.0f} s", file=sys.stderr, flush=True)
        with open(metrics) as file:
            return json.load(file)

    def serve(self):
        address_file = os.path.join(self.out, "teacher.address")
        if os.path.exists(address_file):
            os.remove(address_file)
        log = open(os.path.join(self.out, "kd-teacher.log"), "w")
        server = subprocess.Popen(
            [
                self.program("kd-teacher"),
                "--weights",
                self.teacher,
                "--cache-folder",
                os.path.join(self.out, "cache"),
                "--address-file",
                address_file,
            ],
            stderr=log,
        )
        for _ in range(600):
            if os.path.exists(address_file):
                return server, open(address_file).read().strip()
            if server.poll() is not None:
                break
            time.sleep(0.1)
        server.kill()
        raise SystemExit(f"kd-table: the teacher server did not start; read {log.name}")

    def run(self):
        scale = self.arguments.scale
        students, rows, epochs = SCALES[scale]
        if not os.path.exists(os.path.join(self.root, "ImageSets", "val.txt")):
            subprocess.run(
                [self.program("kdctl"), "data", "simulate", "--out", self.root], check=True, stdout=subprocess.DEVNULL
            )
        teacher = self.train("teacher", pair("teacher", self.root, 0, TEACHER_EPOCHS))
        server, address = self.serve()
        try:
            cells = [
                (student, row, seed) for seed in range(self.arguments.seeds) for student in students for row in rows
            ]

            def one(cell):
                student, row, seed = cell
                name = f"{scale}-{student}-{row}-{seed}".replace("/", "").replace(" + ", "-").replace(" ", "-").lower()
                return cell, self.train(name, pair(name, self.root, seed, epochs, student, row, self.teacher), address)

            with concurrent.futures.ThreadPoolExecutor(self.arguments.jobs) as pool:
                results = dict(pool.map(one, cells))
        finally:
            server.terminate()
            server.wait()
        return self.report(scale, students, rows, teacher, results)

    def report(self, scale, students, rows, teacher, results):
        seeds = range(self.arguments.seeds)

        def scores(student, row, metric="center_distance/mAP"):
            return [results[student, row, seed][metric] for seed in seeds]

        def spread(values):
            deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
            return f"{statistics.mean(values):.1f}{deviation}"

        kept = True
        top = teacher["center_distance/mAP"]
        best = max(statistics.mean(scores(student, "none")) for student in students)
        if top - best < HEADROOM:
            print(f"[kd-table] no headroom: the teacher has {top:.1f} mAP, a student alone {best:.1f}", file=sys.stderr)
            kept = False
        for (student, row), limit in LIMITS[scale].items():
            gains = [a - b for a, b in zip(scores(student, row), scores(student, "none"))]
            kept &= statistics.mean(gains) >= limit
            print(
                json.dumps(
                    {
                        "name": f"kd-table.{scale}.{student}.{row}",
                        "value": round(statistics.mean(gains), 2),
                        "goal": limit,
                        "better": "higher",
                        "unit": "mAP gained, mean of the seeds",
                        "median_of": len(gains),
                        "min": round(min(gains), 2),
                        "max": round(max(gains), 2),
                    }
                )
            )
        with open(os.path.join(self.out, f"{scale}.md"), "w") as file:
            kitti = "kitti/Car/3d/moderate/R40"
            file.write(
                f"Teacher: {top:.1f} mAP, {teacher[kitti]:.1f} KITTI Car 3D moderate AP_R40. "
                f"{len(seeds)} seeds, mean ± deviation.\n\n"
            )
            file.write("| row | " + " | ".join(f"{s} mAP | gain | Car / Ped / Cyc | KITTI" for s in students) + " |\n")
            file.write("|---" * (1 + 4 * len(students)) + "|\n")
            for row in rows:
                columns = []
                for student in students:
                    gains = [a - b for a, b in zip(scores(student, row), scores(student, "none"))]
                    classes = " / ".join(
                        f"{statistics.mean(scores(student, row, 'center_distance/' + c)):.1f}"
                        for c in ("Car", "Pedestrian", "Cyclist")
                    )
                    columns += [
                        spread(scores(student, row)),
                        "" if row == "none" else f"{statistics.mean(gains):+.1f}",
                        classes,
                        spread(scores(student, row, kitti)),
                    ]
                file.write(f"| {row} | " + " | ".join(columns) + " |\n")
        return 0 if kept else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=SCALES, default="sim-demo")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", default="out/kd-table")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once, one thread each")
    parser.add_argument("--bin", default="build/release/bin", help="folder of the programs")
    sys.exit(Table(parser.parse_args()).run())


if __name__ == "__main__":
    main()
