"""How long it takes to plan every shipped profile for every instance type and stack, in one process.

    .venv/bin/python benchmarks/plan.py [--rounds 3] [--json FILE]

Needs no device, no network and no engine. Profiles, models, machines and stacks are read once, as a CI job
would; each plan is then made anew, its rules included. The goal is under 2 s for all of them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path

from neuronctl.errors import NeuronctlError
from neuronctl.host import Host
from neuronctl.machine.catalog import instance_types
from neuronctl.machine.detect import Machine, detect_machine
from neuronctl.model.model import Model
from neuronctl.model.resolve import resolve_model
from neuronctl.plan.make import make_plan
from neuronctl.profile.find import packaged_folder
from neuronctl.profile.resolve import Profile, load_profile
from neuronctl.stack.assume import assume_stack, distinct_stacks
from neuronctl.stack.detect import Stack

GOAL_S = 2.0


def main() -> None:
    """Measure, print, and write the numbers where asked to."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=3, help="how often; the fastest counts")
    options.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as home:
        host = Host(environ={"HOME": home}, cwd=Path(home))
        began = time.perf_counter()
        profiles = [(one, resolve_model(one.shape.model, host)) for one in _profiles(host)]
        machines = [detect_machine(host, one.name) for one in instance_types()]
        stacks = [assume_stack(name) for name in distinct_stacks()]
        read_s = time.perf_counter() - began
        rounds = [_plan_all(profiles, machines, stacks, host) for _ in range(given.rounds)]
    took_s, outcomes = min(rounds, key=lambda one: one[0])
    plans = sum(outcomes.values())
    print(f"{len(profiles)} profiles x {len(machines)} instance types x {len(stacks)} stacks = {plans} plans")
    print(f"reading them     {read_s:6.2f} s")
    print(
        f"planning         {took_s:6.2f} s, {1000 * took_s / plans:.2f} ms a plan (goal: under {GOAL_S:g} s)"
    )
    print(f"of the goal      {took_s / GOAL_S:6.0%}")
    print(", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common()))
    if given.json:
        numbers = {"plans": plans, "took_s": took_s, "read_s": read_s, "outcomes": dict(outcomes)}
        given.json.write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")


def _profiles(host: Host) -> list[Profile]:
    found = [load_profile(path.stem, host) for path in sorted(packaged_folder().glob("*.yaml"))]
    return [one for one in found if one.shape.backend != "cpu"]


def _plan_all(
    profiles: list[tuple[Profile, Model]], machines: list[Machine], stacks: list[Stack], host: Host
) -> tuple[float, Counter[str]]:
    outcomes: Counter[str] = Counter()
    began = time.perf_counter()
    for profile, model in profiles:
        for machine in machines:
            for stack in stacks:
                outcomes[_outcome(profile, model, machine, stack, host)] += 1
    return time.perf_counter() - began, outcomes


def _outcome(profile: Profile, model: Model, machine: Machine, stack: Stack, host: Host) -> str:
    try:
        plan = make_plan(profile, model, machine, stack, host.environ, home="/neuronctl")
    except NeuronctlError as error:
        return error.error_code
    return "refused by a rule" if plan.errors else "can work"


if __name__ == "__main__":
    main()
