"""How fast a model's weights are read and told apart, against `cat` and sha256 over the same files.

    .venv/bin/python benchmarks/identity.py [--gb 2] [--files 30] [--folder DIR] [--rounds 5] [--json FILE]

Makes a folder of weights in a temporary folder or in DIR, and removes it. In turns, it measures the first
digest of the folder (nothing is remembered), `cat` to /dev/null, and sha256 by one thread with OpenSSL, one
file after the other, as sha256sum reads: in all rounds from the page cache, and once without it where the
system lets go of it. Last comes the second digest, where all is remembered. The goals: a first digest at
least five times as fast as sha256 on two cores where the disk allows, a second one under 10 ms for 30 files.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from blake3 import blake3

from neuronctl.host import Host
from neuronctl.model.identity import identify_weights

GOAL_RATIO = 5.0
GOAL_MS = 10.0
# Where the disk brings the digest below this part of its speed from the page cache, the disk is the limit.
NEAR = 0.8
DIGEST, CAT, SHA256, HASH = "first digest", "cat >/dev/null", "sha256, one thread", "BLAKE3, no reading"


class Bench:
    """A folder of weights, and a place to remember their digests."""

    def __init__(self, folder: Path, size_bytes: int, files: int) -> None:
        self.model = folder / "model"
        self.model.mkdir()
        self.home = folder / "home"
        self.files = [self.model / f"model-{number:05}.safetensors" for number in range(files)]
        self.file_bytes = size_bytes // files
        self.cores = len(os.sched_getaffinity(0))
        self.cores_used: list[float] = []  # on average, by each first digest
        self.sample = os.urandom(1 << 20)  # small enough to stay in a core's own cache
        for file in self.files:
            with file.open("wb") as weights:
                for begin in range(0, self.file_bytes, 8 << 20):
                    weights.write(os.urandom(min(8 << 20, self.file_bytes - begin)))
                weights.flush()
                os.fsync(weights.fileno())

    @property
    def size_bytes(self) -> int:
        return self.file_bytes * len(self.files)

    def digest(self) -> str:
        """What is measured: the identity, with what is remembered if there is something."""
        return identify_weights(self.model, Host(environ={"NEURONCTL_HOME": str(self.home)}))

    def first_digest(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)
        began, processor_began = time.perf_counter(), time.process_time()
        self.digest()
        self.cores_used.append((time.process_time() - processor_began) / (time.perf_counter() - began))

    def cat(self) -> None:
        subprocess.run(["cat", *self.files], stdout=subprocess.DEVNULL, check=True)

    def sha256(self) -> None:
        buffer = memoryview(bytearray(1 << 20))
        for path in self.files:
            hasher = hashlib.sha256()
            with path.open("rb", buffering=0) as file:
                while count := file.readinto(buffer):
                    hasher.update(buffer[:count])

    def hash_only(self) -> None:
        """What one core could do if reading took no time; the same number of bytes."""
        hasher = blake3()
        for _ in range(self.size_bytes // len(self.sample)):
            hasher.update(self.sample)

    def drop(self) -> bool:
        """Let the page cache go; whether it went."""
        for path in self.files:
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return not self.is_cached(self.files[-1])

    def is_cached(self, path: Path) -> bool:
        """Whether a page in the middle of a file is in memory; also if the file system does not say."""
        with path.open("rb") as file:
            try:
                os.preadv(file.fileno(), [bytearray(1)], self.file_bytes // 2, os.RWF_NOWAIT)
            except BlockingIOError:
                return False
            except OSError:
                pass
        return True

    def gb_per_s(self, measure: Callable[[], None]) -> float:
        began = time.perf_counter()
        measure()
        return self.size_bytes / 1e9 / (time.perf_counter() - began)


def main() -> None:
    """Measure, print, and write the numbers where asked to."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--gb", type=float, default=2.0, help="size of all files (default 2)")
    options.add_argument("--files", type=int, default=30, help="how many (default 30)")
    options.add_argument("--folder", type=Path, metavar="DIR", help="on the disk to measure; must exist")
    options.add_argument("--rounds", type=int, default=5, help="how often; the median counts (default 5)")
    options.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    given = options.parse_args()
    size_bytes = int(given.gb * 1e9)
    if given.rounds < 1 or not 1 <= given.files <= size_bytes >> 20:
        options.error("needs at least a round, a file, and 1 MB in each file")
    with tempfile.TemporaryDirectory(prefix="neuronctl-identity-", dir=given.folder) as name:
        free_bytes = shutil.disk_usage(name).free
        if free_bytes < size_bytes * 1.1:
            sys.exit(f"{name} has {free_bytes / 1e9:.1f} GB free: see --folder and --gb")
        numbers = measure_all(Bench(Path(name), size_bytes, given.files), given.rounds)
    if given.json:
        given.json.write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")


def measure_all(bench: Bench, rounds: int) -> dict[str, float]:
    """All measures of one run, printed."""
    print(f"{len(bench.files)} files, {bench.size_bytes / 1e9:.2f} GB; {bench.cores} cores; {rounds} rounds")
    measures = {DIGEST: bench.first_digest, CAT: bench.cat, SHA256: bench.sha256}
    bench.cat()
    if not all(map(bench.is_cached, bench.files)):
        print("the page cache does not hold all files: what is called warm is the disk; see --gb")
    warm = in_turns(bench, rounds, {**measures, HASH: bench.hash_only})
    show("page cache warm", warm)
    numbers = {
        "second digest, ms": statistics.median(milliseconds(bench.digest) for _ in range(max(15, rounds))),
        "cores used": statistics.median(bench.cores_used),
        **{f"{name}, warm, GB/s": statistics.median(values) for name, values in warm.items()},
    }
    ratios = {
        "first digest / sha256, warm": median_ratio(warm, DIGEST, SHA256),
        "first digest / cat, warm": median_ratio(warm, DIGEST, CAT),
    }
    if cold := without_page_cache(bench, measures):
        show("page cache dropped, once", {name: [value] for name, value in cold.items()})
        numbers |= {f"{name}, dropped, GB/s": value for name, value in cold.items()}
        ratios["first digest / sha256, dropped"] = cold[DIGEST] / cold[SHA256]
        ratios["first digest / cat, dropped"] = cold[DIGEST] / cold[CAT]
    # What all cores would do if reading took no time and nobody else used them.
    ratios["BLAKE3 on all cores, no reading / sha256"] = bench.cores * median_ratio(warm, HASH, SHA256)
    print()
    for name, ratio in ratios.items():
        print(f"{name:42} {ratio:6.2f}")
    print()
    judge(bench, ratios, numbers)
    return {**ratios, **numbers}


def judge(bench: Bench, ratios: dict[str, float], numbers: dict[str, float]) -> None:
    """Say of each goal whether this run met it, and what was the limit."""
    ratio = ratios["first digest / sha256, warm"]
    print(
        f"{met(ratio >= GOAL_RATIO)}: first digest, warm, {ratio:.1f} times sha256 (goal: at least "
        f"{GOAL_RATIO:g} on two cores). The limit was the processor: it had {numbers['cores used']:.2f} of "
        f"{bench.cores} cores, and hashing alone, on all of them, would reach "
        f"{ratios['BLAKE3 on all cores, no reading / sha256']:.1f} times sha256."
    )
    if (ratio := ratios.get("first digest / sha256, dropped", 0.0)) > 0:
        warm, cold = numbers[f"{DIGEST}, warm, GB/s"], numbers[f"{DIGEST}, dropped, GB/s"]
        limit = "disk" if cold < NEAR * warm else "processor"
        print(
            f"{met(ratio >= GOAL_RATIO)}: first digest, page cache dropped, {ratio:.1f} times sha256. "
            f"The limit was the {limit}: the digest got {cold:.2f} GB/s from the disk, cat "
            f"{numbers[f'{CAT}, dropped, GB/s']:.2f}, and the digest warm {warm:.2f}."
        )
    second_ms = numbers["second digest, ms"]
    print(
        f"{met(second_ms < GOAL_MS)}: second digest {second_ms:.2f} ms for {len(bench.files)} files "
        f"(goal: under {GOAL_MS:g} ms for 30)."
    )


def met(is_met: bool) -> str:
    return "met" if is_met else "NOT met"


def in_turns(bench: Bench, rounds: int, measures: dict[str, Callable[[], None]]) -> dict[str, list[float]]:
    """GB/s of each measure in each round, so that a noisy moment meets them all."""
    taken: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            taken[name].append(bench.gb_per_s(measure))
    return taken


def without_page_cache(bench: Bench, measures: dict[str, Callable[[], None]]) -> dict[str, float]:
    """GB/s of each measure from the disk itself; empty where the page cache stays."""
    taken = {}
    for name, measure in measures.items():
        if not bench.drop():
            print("\nthe page cache cannot be dropped here: nothing is said about the disk")
            return {}
        taken[name] = bench.gb_per_s(measure)
    return taken


def median_ratio(taken: dict[str, list[float]], one: str, other: str) -> float:
    """The median of the ratios of each round."""
    return statistics.median(a / b for a, b in zip(taken[one], taken[other], strict=True))


def milliseconds(measure: Callable[[], object]) -> float:
    began = time.perf_counter()
    measure()
    return 1000 * (time.perf_counter() - began)


def show(title: str, taken: dict[str, list[float]]) -> None:
    print(f"\n{title}, GB/s")
    for name, values in taken.items():
        spread = f"  ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
        print(f"  {name:20} {statistics.median(values):6.2f}{spread}")


if __name__ == "__main__":
    main()
