"""What the sections of `scripts/bench ops` share: the peers' environments, our own process, how figures are printed."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
THREADS = 2


def say(text):
    print(f"[ops] {text}", file=sys.stderr, flush=True)


def environment(name, requirements):
    """Python of .deps/NAME, made of bench/REQUIREMENTS on first use."""
    folder = os.path.join(ROOT, ".deps", name)
    python = os.path.join(folder, "bin", "python")
    stamp = os.path.join(folder, "installed")
    path = os.path.join(ROOT, "bench", requirements)
    with open(path) as file:
        wanted = file.read()
    if not os.path.exists(stamp) or open(stamp).read() != wanted:
        say(f"installing bench/{requirements} into .deps/{name}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run(
            [
                python,
                "-m",
                "pip",
                "install",
                "-q",
                "--disable-pip-version-check",
                "--require-hashes",
                "--no-deps",
                "-r",
                path,
            ],
            check=True,
        )
        with open(stamp, "w") as file:
            file.write(wanted)
    return python


def program(preset, *parts):
    path = os.path.join(ROOT, "build", preset, *parts)
    if not os.path.exists(path):
        sys.exit(f"ops: build/{preset}/{'/'.join(parts)} is missing; run scripts/build {preset}")
    return path


def report(name, values, goal=None, better="higher", unit="ratio", **more):
    print(
        json.dumps(
            {
                "name": f"ops.{name}",
                "value": round(statistics.median(values), 3),
                "goal": goal,
                "better": better,
                "unit": unit,
                "median_of": len(values),
                "min": round(min(values), 3),
                "max": round(max(values), 3),
                **more,
            }
        ),
        flush=True,
    )


def report_nothing(name, note):
    print(
        json.dumps(
            {"name": f"ops.{name}", "value": None, "goal": None, "better": "higher", "unit": "ratio", "note": note}
        ),
        flush=True,
    )


def timed(call):
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


class Ours:
    """Our half, in a process of its own that starts when it is first asked: build/PRESET/bench/ops_bench."""

    def __init__(self, preset="release"):
        self.preset, self.process = preset, None

    def ask(self, line):
        if self.process is None:
            self.process = subprocess.Popen(
                [program(self.preset, "bench", "ops_bench")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f'ops: ops_bench ended at "{line}"')
        return answer.split()

    def load(self, tensors, command="load"):
        from safetensors.torch import save_file

        with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
            save_file(tensors, file.name)
            answer = self.ask(f"{command} {file.name}")
        if answer != ["loaded"]:
            sys.exit(f"ops: {' '.join(answer)}")

    def seconds(self, line):
        """Seconds and the numbers that tell the result."""
        answer = self.ask(line)
        try:
            return float(answer[0]), [float(number) for number in answer[1:]]
        except ValueError:
            sys.exit(f"ops: {line}: {' '.join(answer)}")
