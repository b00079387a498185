"""The golden plans: every shipped profile on every machine and stack that it is made for.

Each file under `tests/golden/plans/` is one profile. Cases that come to the same stand together: what is
handed to vLLM and to the plugin, what the plugin will make of it where that is not NxD Inference's default,
what it takes, and what the rules say. After a change that is meant, write them anew and read the difference:

    WRITE_GOLDEN=1 python -m pytest tests/unit/plan/test_plan_golden.py; git diff tests/golden
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from neuronctl.neuron.keys import known_keys
from neuronctl.plan.plan import Plan
from neuronctl.plan.reference import MADE_FOR, Case, shipped_cases, shipped_page

REPOSITORY = Path(__file__).parents[3]
GOLDEN = REPOSITORY / "tests" / "golden" / "plans"


@cache
def cases() -> tuple[Case, ...]:
    return tuple(shipped_cases(REPOSITORY))


def summary(case: Case) -> dict[str, Any]:
    """What must not change by accident."""
    if case.plan is None:
        assert case.error is not None
        return {"error": case.error.error_code}
    plan = case.plan
    said = [f"{one.severity} {one.id}" for one in plan.findings]
    if plan.errors:
        return {"refused": said}
    return {
        "engine": {name: one.value for name, one in plan.engine.items()},
        "environment": {name: one.value for name, one in plan.environment.items()},
        "files": dict(plan.files),
        "findings": said,
        **outlook(plan),
    }


def placeless(text: str, case: Case) -> str:
    """`text` without where this checkout lies, and without the names that follow from it."""
    for path in case.plan.files if case.plan else ():
        text = text.replace(path, "ADAPTERS.json")
    return text.replace(str(REPOSITORY), "CHECKOUT")


def outlook(plan: Plan) -> dict[str, Any]:
    assert plan.outlook is not None
    found: dict[str, Any] = {"backend": plan.backend, "cores": str(plan.outlook.assigned)}
    if (estimate := plan.outlook.estimate) is not None:
        found["estimate"] = {
            "core": estimate.core_bytes,
            "host": estimate.host_bytes,
            "disk": estimate.disk_bytes,
            "compile": estimate.compile_class,
        }
    if (prediction := plan.outlook.prediction) is not None:
        defaults = {name: key.default for name, key in known_keys("nxdi").items()}
        found["neuron_config"] = {
            name: value
            for name, value in prediction.neuron_config.items()
            if name not in defaults or defaults[name] != value
        }
        found["buckets"] = {name: list(sizes) for name, sizes in prediction.buckets.items()}
        found["silent"] = list(prediction.silent)
    return found


@pytest.mark.parametrize("profile", MADE_FOR)
def test_the_plans_of_a_shipped_profile_are_the_golden_ones(profile: str) -> None:
    groups: list[dict[str, Any]] = []
    for case in (one for one in cases() if one.profile == profile):
        found = json.loads(placeless(json.dumps(summary(case), default=str), case))
        same = next((group for group in groups if group["plan"] == found), None)
        if same is None:
            groups.append({"on": [], "plan": found})
            same = groups[-1]
        same["on"].append(f"{case.instance} {case.stack}")
    text = json.dumps(groups, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    golden = GOLDEN / f"{profile}.json"
    if os.environ.get("WRITE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text, encoding="utf-8")
    assert text.splitlines() == golden.read_text(encoding="utf-8").splitlines(), (
        f"the plans of {profile} changed; if that is meant: "
        "WRITE_GOLDEN=1 python -m pytest tests/unit/plan/test_plan_golden.py"
    )


@pytest.mark.parametrize("profile", MADE_FOR)
def test_a_shipped_profile_works_on_each_instance_it_is_made_for(profile: str) -> None:
    working = {case.instance for case in cases() if case.profile == profile and case.works}
    assert working == set(MADE_FOR[profile])


def test_every_shipped_profile_is_made_for_something() -> None:
    shipped = {path.stem for path in (REPOSITORY / "profiles").glob("*.yaml")}
    assert shipped == {*MADE_FOR, "smollm2-cpu"}


def test_the_page_of_shipped_profiles_is_made_from_their_plans() -> None:
    page = (REPOSITORY / "docs" / "shipped-profiles.md").read_text(encoding="utf-8")
    assert page.splitlines() == shipped_page(REPOSITORY).splitlines(), "python -m neuronctl.plan.reference"
