"""Driver, runtime and kernel that do not go together."""

from __future__ import annotations

from typing import Any

import pytest

from neuronctl.stack.assume import assume_stack, stack_names
from neuronctl.stack.compat import driver_rows, sdks
from neuronctl.stack.drivers import driver_faults
from tests.reference import reference

# What no version of driver or runtime decides: two sentences about all versions, and a variable.
NOT_CHECKED = {"general", "dlc", "async-exec-env-removed"}
RULES: dict[str, dict[str, Any]] = {
    row["id"]: row for row in reference("compat")["driver_runtime_rules"] if row["id"] not in NOT_CHECKED
}


def test_every_rule_of_the_reference() -> None:
    assert {row["id"] for row in driver_rows()} == RULES.keys()


@pytest.mark.parametrize("row", driver_rows(), ids=lambda row: row["id"])
def test_a_rule_is_the_reference_s(row: dict[str, Any]) -> None:
    stated = RULES[row["id"]]
    assert row["source"] == stated["source"]
    assert row["effect"] == stated.get("effect")
    for name, bound in row["requires"].items():
        assert bound == stated[f"requires_{name}"]
    for name, bound in row["when"].items():
        said = stated["on"] if name == "family" else str(stated[f"if_{name}"]).split()[0]
        assert bound.removeprefix("==").removesuffix(".*") == said.removesuffix(".*"), name
    issues = {one["id"] for one in reference("known_issues")["issues"]}
    assert row["issue"] is None or row["issue"] in issues


@pytest.mark.parametrize(
    ("driver", "runtime", "kernel", "family", "broken"),
    [
        ("2.29.0.0", "2.32.31.0", "6.8.0-1040-aws", "trn2", ["driver-2.29-needs-runtime-2.33"]),
        ("2.30.2.0", "2.34.10.0", "6.8.0-1040-aws", "trn2", []),
        ("2.26.10.0", "2.32.31.0", "6.8.0", "inf2", ["runtime-2.32-needs-driver-gt-2.26"]),
        ("2.27.4.0", "2.32.31.0", "6.8.0", "inf2", []),
        ("2.21.37.0", "2.26.42.0", "6.8.0", "trn2", ["runtime-2.26-needs-dkms-2.22-on-trn2"]),
        ("2.21.37.0", "2.26.42.0", "6.8.0", "trn1", []),
        ("2.24.7.0", None, "5.10", "inf1", []),
        ("2.26.5.0", None, "5.10", "inf1", ["inf1-driver-cap"]),
        ("2.26.5.0", "2.30.51.0", "6.18.3-1.amzn2023.x86_64", "inf2", ["kernel-6.18"]),
        ("2.26.10.0", "2.30.51.0", "6.18.3-1.amzn2023.x86_64", "inf2", []),
        ("2.26.5.0", "2.30.51.0", "6.1.8", "inf2", []),
        (
            "2.26.5.0",
            "2.33.10.0",
            "6.18.3",
            "inf2",
            ["runtime-2.32-needs-driver-gt-2.26", "kernel-6.18"],
        ),
        (None, "2.34.10.0", "6.18.3", "inf1", []),
        ("2.30.2.0", None, "", None, []),
    ],
)
def test_what_does_not_go_together(
    driver: str | None, runtime: str | None, kernel: str, family: str | None, broken: list[str]
) -> None:
    assert [fault.rule for fault in driver_faults(driver, runtime, kernel, family)] == broken


def test_a_fault_says_what_has_what_and_what_to_do() -> None:
    (fault,) = driver_faults("2.29.0.0", "2.32.31.0", "6.8.0", "trn2")
    assert fault.message == (
        "runtime 2.32.31.0 does not go with driver 2.29.0.0: it takes runtime >=2.33, else nrt_init() fails"
    )
    assert (fault.issue, fault.source) == (
        "driver-too-new",
        "sdk:release-notes/components/runtime.rst:329",
    )
    assert "2.33" in fault.fix


@pytest.mark.parametrize("name", stack_names())
def test_the_driver_of_an_sdk_goes_with_its_runtime(name: str) -> None:
    stack = assume_stack(name)
    drivers = {
        sdk.packages["aws-neuronx-dkms"][0]
        for sdk in sdks()
        if stack.runtime in sdk.packages["aws-neuronx-runtime-lib"]
    }
    assert drivers
    for driver in drivers:
        assert driver_faults(driver, stack.runtime, "6.8.0", "trn2") == ()
