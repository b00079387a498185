"""How long `neuronctl doctor` takes where everything is well, and which checks take it.

    .venv/bin/python benchmarks/doctor.py [--rounds 9] [--json FILE]

Three commands in turns, each a process of its own, on this machine: `python -c pass`, `neuronctl --version`
and `neuronctl doctor --offline`; and the latter once more on a trn2.48xlarge made of files, with a stand-in
for neuron-ls and for the SDK's packages, as the tests use them. The goal is under a second for the local
checks. The ratio to `neuronctl --version` tells what the checks add to a start.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.process.neuron_machine import make_root
from tests.sdk.make import make_sdk

GOAL_S = 1.0
ELSEWHERE = Path(__file__).parents[1] / "tests" / "process" / "elsewhere.py"
DOCTOR = ("doctor", "--offline", "--json")


class Bench:
    """A home of its own, and a Neuron instance made of files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = make_root(folder / "root", "trn2.48xlarge")
        lib = self.root / "opt" / "aws" / "neuron" / "lib"
        (lib / "libnrt.so.2.30.51.0").touch()
        self.python = make_sdk(folder / "sdk")
        kept = ("PATH", "LANG", "LC_ALL")
        self.environ = {name: os.environ[name] for name in kept if name in os.environ}
        self.environ["HOME"] = str(folder)

    @property
    def instance(self) -> dict[str, str]:
        """The environment in which the instance made of files is this machine."""
        return {
            **self.environ,
            "TEST_ROOT": str(self.root),
            "PATH": f"{self.root / 'bin'}:{self.environ.get('PATH', '')}",
            "NEURONCTL_PYTHON": str(self.python),
        }

    def seconds(self, words: Sequence[str], environ: dict[str, str]) -> tuple[float, str]:
        """How long a command takes from start to end, and its stdout. It may find something."""
        began = time.perf_counter()
        done = subprocess.run(
            words, env=environ, cwd=self.folder, capture_output=True, text=True, check=False
        )
        took_s = time.perf_counter() - began
        if "Traceback" in done.stderr:
            sys.exit(f"{' '.join(words)}:\n{done.stderr}")
        return took_s, done.stdout


def main() -> None:
    """Measure, print, and write the numbers where asked to."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--rounds", type=int, default=9, help="how often; the median counts (default 9)")
    options.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="neuronctl-doctor-") as name:
        numbers = measure(Bench(Path(name)), max(1, given.rounds))
    if given.json:
        given.json.write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")


def measure(bench: Bench, rounds: int) -> dict[str, float]:
    """All measures in turns, so that a noisy moment meets them all."""
    neuronctl = (sys.executable, "-m", "neuronctl")
    commands = {
        "python -c pass": ((sys.executable, "-c", "pass"), bench.environ),
        "neuronctl --version": ((*neuronctl, "--version"), bench.environ),
        "doctor, this machine": ((*neuronctl, *DOCTOR), bench.environ),
        "doctor, trn2.48xlarge": ((sys.executable, str(ELSEWHERE), *DOCTOR), bench.instance),
    }
    taken: dict[str, list[float]] = {name: [] for name in commands}
    answers: dict[str, str] = {}
    for _ in range(rounds + 1):  # the first fills the page cache and does not count
        for name, (words, environ) in commands.items():
            took_s, answers[name] = bench.seconds(words, environ)
            taken[name].append(took_s)
    numbers = {name: statistics.median(values[1:]) for name, values in taken.items()}
    for name, seconds in numbers.items():
        print(f"{name:24} {1000 * seconds:7.0f} ms")
    for name in ("doctor, this machine", "doctor, trn2.48xlarge"):
        ratio = numbers[name] / numbers["neuronctl --version"]
        met = "met" if numbers[name] < GOAL_S else "NOT met"
        print(f"\n{name}: {ratio:.1f} times neuronctl --version; {met}: under {GOAL_S:g} s")
        data = json.loads(answers[name])["data"]
        print(f"  {data['verdict']}")
        for one in sorted(data["checks"], key=lambda check: -check["took_s"])[:5]:
            print(f"  {1000 * one['took_s']:6.0f} ms  {one['name']} ({one['status']})")
    return numbers


if __name__ == "__main__":
    main()
