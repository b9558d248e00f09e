#!/usr/bin/env python3
"""What a user waits for, and what an idle fleet costs.

    scripts/bench control-plane [--rounds 5] [--jobs 100] [--out out/control-plane]

Times of kdctl are those of the whole process, beside `true` started the same way, which is what starting any program
costs here. The list is of --jobs ended jobs. A server has started when it answers at its address. Memory is what is
resident after some idle seconds; pages of program files that other processes share are counted, too.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time

IDLE_S = 3
DEADLINE_S = 30


def report(name, values, goal, unit, digits=1):
    print(
        json.dumps(
            {
                "name": f"control-plane.{name}",
                "value": round(statistics.median(values), digits),
                "goal": goal,
                "better": "lower",
                "unit": unit,
                "median_of": len(values),
                "min": round(min(values), digits),
                "max": round(max(values), digits),
            }
        ),
        flush=True,
    )


def milliseconds(command, env=None):
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
    return 1000 * (time.perf_counter() - start)


def resident_mib(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:")) / 1024


class Server:
    def __init__(self, command, folder):
        self.address_file = os.path.join(folder, os.path.basename(command[0]) + ".address")
        if os.path.exists(self.address_file):
            os.remove(self.address_file)
        start = time.perf_counter()
        self.log = open(os.path.join(folder, os.path.basename(command[0]) + ".log"), "w")
        self.process = subprocess.Popen(command + ["--address-file", self.address_file], stderr=self.log)
        while not os.path.exists(self.address_file):
            if self.process.poll() is not None or time.perf_counter() - start > DEADLINE_S:
                raise SystemExit(f"control-plane: {command[0]} did not start; see {self.log.name}")
            time.sleep(0.001)
        self.start_s = time.perf_counter() - start
        with open(self.address_file) as file:
            self.address = file.read()

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--out", default="out/control-plane")
    parser.add_argument("--bin", default="build/release/bin", help="folder of the programs")
    arguments = parser.parse_args()
    out = os.path.abspath(arguments.out)
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    program = lambda name: os.path.join(arguments.bin, name)
    kdctl = program("kdctl")
    starts, memory = {"coordinator": [], "registry": []}, {"coordinator": [], "registry": []}
    times = {"true": [], "help": [], "list": []}

    subprocess.run(
        [kdctl, "data", "simulate", "--out", f"{out}/sim", "--train", "4", "--val", "2"],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for number in range(arguments.rounds):
        registry = Server([program("kd-registry"), "--folder", f"{out}/registry", "--listen", "127.0.0.1:0"], out)
        coordinator = Server(
            [
                program("kd-coordinator"),
                "--folder",
                f"{out}/fleet",
                "--listen",
                "127.0.0.1:0",
                "--ops-listen",
                "127.0.0.1:0",
                "--registry",
                f"http://{registry.address}",
            ],
            out,
        )
        environment = dict(os.environ, KD_ADDRESS=coordinator.address)
        starts["registry"].append(registry.start_s)
        starts["coordinator"].append(coordinator.start_s)
        if number == 0:
            for job in range(arguments.jobs):
                submitted = subprocess.run(
                    [
                        kdctl,
                        "submit",
                        "examples/teacher-sim.yaml",
                        "--set",
                        f"data.root={out}/sim",
                        "--request-id",
                        f"job-{job}",
                        "-o",
                        "name",
                    ],
                    check=True,
                    env=environment,
                    capture_output=True,
                    text=True,
                )
                subprocess.run(
                    [kdctl, "cancel", submitted.stdout.strip()], check=True, env=environment, capture_output=True
                )
        time.sleep(IDLE_S)
        memory["registry"].append(resident_mib(registry.process.pid))
        memory["coordinator"].append(resident_mib(coordinator.process.pid))
        times["true"].append(milliseconds(["true"]))
        times["help"].append(milliseconds([kdctl, "--help"]))
        times["list"].append(milliseconds([kdctl, "get", "jobs"], environment))
        coordinator.stop()
        registry.stop()

    report("help", times["help"], 50, "ms")
    report("list", times["list"], 100, "ms")
    for name in starts:
        report(f"start-{name}", starts[name], 1, "s", 3)
    for name in memory:
        report(f"idle-{name}", memory[name], 50, "MiB")
    print(f"[control-plane] starting `true` takes {statistics.median(times['true']):.1f} ms here", file=sys.stderr)


if __name__ == "__main__":
    main()
