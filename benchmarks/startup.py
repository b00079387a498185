"""How long starts take: with and without the artifact, against vLLM by hand, and the commands themselves.

    .venv/bin/python benchmarks/startup.py [--rounds 3] [--commands-only] [--json FILE]

Everything is measured in one run on one machine, in turns, and the ratios are what counts. It uses a folder
of its own for artifacts and caches and the profile smollm2-cpu; with the engine it takes about ten minutes on
two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

PROFILE = "smollm2-cpu"
MODEL = "smollm2-135m-instruct"
EMPTIEST = """\
import typer
app = typer.Typer()
@app.command()
def a(): pass
@app.command()
def b(): pass
app()
"""
BIN = Path(sys.executable).parent
NEURONCTL = str(BIN / "neuronctl")


class Bench:
    """A folder of its own, and the environment that leads neuronctl there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("NEURONCTL_", "VLLM_", "TORCH"))
        }
        self.environ["NEURONCTL_HOME"] = str(folder / "home")
        self.environ.pop("PYTHONDONTWRITEBYTECODE", None)

    def seconds(self, *words: str) -> float:
        """How long a command takes from start to end."""
        began = time.perf_counter()
        subprocess.run(words, env=self.environ, cwd=self.folder, capture_output=True, check=True)
        return time.perf_counter() - began

    def until_neuronctl_is_ready(self, *extra: str) -> float:
        """From the start of `neuronctl serve` to its word that the server answers."""
        words = [NEURONCTL, "serve", PROFILE, "--port", str(free_port()), *extra]
        began = time.perf_counter()
        server = subprocess.Popen(
            words,
            env=self.environ,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert server.stderr is not None
        said = []
        for line in server.stderr:
            said.append(line)
            if "ready after" in line:
                break
        took = time.perf_counter() - began
        if server.poll() is not None:
            sys.exit("neuronctl serve ended before it was ready:\n" + "".join(said))
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=120)
        return took

    def until_vllm_answers(self, artifact: Path) -> float:
        """From the start of the same vLLM command, typed by hand with a copy of the caches, to an answer."""
        cache = Path(tempfile.mkdtemp(dir=self.folder))
        port = free_port()
        plan = self.plan("--port", str(port))
        began = time.perf_counter()
        shutil.copytree(artifact, cache, dirs_exist_ok=True, copy_function=shutil.copyfile)
        variables = {
            name: value.replace("COPY-OF-ARTIFACT", str(cache))
            for name, value in plan["command_environment"].items()
        }
        with (cache / "log").open("wb") as log:
            server = subprocess.Popen(
                plan["command"],
                env={**self.environ, **variables},
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        while not answers(port):
            if server.poll() is not None:
                sys.exit(f"vLLM ended before it answered:\n{(cache / 'log').read_text()[-4000:]}")
            time.sleep(0.1)
        took = time.perf_counter() - began
        server.send_signal(signal.SIGINT)
        server.wait(timeout=120)
        return took

    def plan(self, *extra: str) -> dict[str, dict[str, str]]:
        """The plan of the profile."""
        words = [NEURONCTL, "plan", PROFILE, "--json", *extra]
        done = subprocess.run(words, env=self.environ, cwd=self.folder, capture_output=True, check=True)
        data: dict[str, dict[str, str]] = json.loads(done.stdout)["data"]
        return data


def prepare_model(bench: Bench) -> None:
    """Make the folder of the shipped model, as the first compile does."""
    code = (
        "from pathlib import Path; import sys; from neuronctl.host import Host; "
        "from neuronctl.profile.resolve import load_profile; "
        "from neuronctl.model.resolve import resolve_and_fetch; "
        f"section = load_profile({PROFILE!r}, Host()).shape.model; "
        "resolve_and_fetch(section, Host(), python=Path(sys.executable))"
    )
    subprocess.run((sys.executable, "-c", code), env=bench.environ, cwd=bench.folder, check=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    """Whether one token of a real answer comes."""
    body = json.dumps({"model": MODEL, "prompt": "Hello", "max_tokens": 1, "temperature": 0}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/completions", data=body, headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False


def in_turns(rounds: int, *measures: Callable[[], float]) -> list[float]:
    """The median of each measure, taken in turns so that a noisy moment meets them all."""
    taken: list[list[float]] = [[] for _ in measures]
    for _ in range(rounds):
        for measure, values in zip(measures, taken, strict=True):
            values.append(measure())
    return [statistics.median(values) for values in taken]


def commands(bench: Bench, rounds: int) -> dict[str, float]:
    """The commands against the emptiest Typer application in the same environment."""
    script = bench.folder / "emptiest.py"
    script.write_text(EMPTIEST)
    python = sys.executable
    prepare_model(bench)  # the shipped model's folder, which the first compile or start makes
    bare, empty, empty_help, help_, plan = in_turns(
        rounds,
        lambda: bench.seconds(python, "-c", "pass"),
        lambda: bench.seconds(python, str(script), "a"),
        lambda: bench.seconds(python, str(script), "--help"),
        lambda: bench.seconds(NEURONCTL, "--help"),
        lambda: bench.seconds(NEURONCTL, "plan", PROFILE),
    )
    print(f"python -c pass                        {bare * 1e3:7.0f} ms")
    print(f"emptiest Typer application, a command {empty * 1e3:7.0f} ms")
    print(f"emptiest Typer application, --help    {empty_help * 1e3:7.0f} ms")
    print(f"neuronctl --help                      {help_ * 1e3:7.0f} ms")
    print(f"neuronctl plan {PROFILE}            {plan * 1e3:7.0f} ms")
    ratios = {
        "neuronctl --help / emptiest command": help_ / empty,
        "neuronctl --help / emptiest --help": help_ / empty_help,
        "neuronctl plan / emptiest command": plan / empty,
    }
    try:
        words = (python, "-m", "vllm.entrypoints.openai.api_server", "--help")
        vllm = bench.seconds(*words)
    except subprocess.CalledProcessError as error:
        print(f"vLLM's own --help could not be measured: {error.stderr.decode()[-300:]}")
    else:
        print(f"vLLM's own --help                     {vllm * 1e3:7.0f} ms")
        ratios["vLLM's own --help / neuronctl --help"] = vllm / help_
    return ratios


def engine(bench: Bench, rounds: int) -> dict[str, float]:
    """Starts of the real engine."""
    subprocess.run([NEURONCTL, "compile", PROFILE], env=bench.environ, cwd=bench.folder, check=True)
    artifact = Path(
        subprocess.run(
            [NEURONCTL, "cache", "path", str(bench.plan()["key"])],
            env=bench.environ,
            cwd=bench.folder,
            capture_output=True,
            check=True,
            text=True,
        ).stdout.strip()
    )
    bench.until_vllm_answers(artifact)  # once, so that all files are in the page cache for everybody
    hit, by_hand = in_turns(
        rounds, bench.until_neuronctl_is_ready, lambda: bench.until_vllm_answers(artifact)
    )
    empty = Path(tempfile.mkdtemp(dir=bench.folder))
    without = bench.until_vllm_answers(empty)
    print(f"to ready, vLLM without an artifact    {without:7.1f} s")
    print(f"to ready, vLLM by hand with its copy  {by_hand:7.1f} s")
    print(f"to ready, neuronctl serve with a hit  {hit:7.1f} s")
    print(f"the tool's own cost                   {hit - by_hand:7.2f} s")
    return {
        "without the artifact / with it": without / by_hand,
        "neuronctl serve with a hit / vLLM by hand": hit / by_hand,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3, help="starts of the engine of each kind (default 3)")
    parser.add_argument("--commands-only", action="store_true", help="do not start the engine")
    parser.add_argument("--json", type=Path, help="write the ratios there")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="neuronctl-startup-"))
    try:
        bench = Bench(folder)
        ratios = commands(bench, rounds=max(15, options.rounds))
        if not options.commands_only:
            ratios |= engine(bench, options.rounds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print()
    for name, ratio in ratios.items():
        print(f"{name:45} {ratio:8.2f}")
    if options.json:
        options.json.write_text(json.dumps(ratios, indent=2) + "\n")


if __name__ == "__main__":
    main()
