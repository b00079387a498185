"""What doctor says for each backend that a profile may name, each plugin, and each kind of machine."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from neuronctl.doctor.check import Outcome
from neuronctl.doctor.checks import instance, profile, software
from neuronctl.doctor.diagnosis import Diagnosis, diagnose
from neuronctl.doctor.facts import Facts, Once
from neuronctl.errors import Exit
from neuronctl.machine.catalog import find_instance
from neuronctl.machine.detect import Machine
from neuronctl.machine.devices import NeuronDevice
from neuronctl.pipeline import Request
from neuronctl.stack.assume import assume_stack
from neuronctl.stack.detect import Stack
from tests.plan_sample import sample_host, sample_machine, sample_plan, sample_stack

CHECKS = (instance.instance, *software.CHECKS, profile.profile, profile.backend)
PYTHON = Path("/opt/my venv/bin/python")


def installed(name: str) -> Stack:
    stack = assume_stack(name)
    return replace(stack, assumed=None, vllm_folder=Path("/venv/vllm"), python=PYTHON, chosen_by="--python")


STACKS = {
    "nxdi": installed("sdk-2.28"),
    "native": installed("sdk-2.32"),
    "twice": replace(installed("sdk-2.32"), duplicates={"vllm-neuron": ("0.24.0.1.1.0", "0.4.1")}),
    "cpu": sample_stack(python=PYTHON),
    "nothing": sample_stack({"pip": "1"}, vllm_folder=None, python=PYTHON),
}


def machine(name: str) -> Machine:
    if name == "none":
        return sample_machine()
    kind = find_instance(name)
    each = kind.logical_cores[kind.lnc_default] // kind.devices
    devices = tuple(
        NeuronDevice(number, tuple(range(number * each, number * each + each)), kind.lnc_default, ())
        for number in range(kind.devices)
    )
    return sample_machine(
        instance=kind, instance_name=name, driver="2.29.1.0", lnc=kind.lnc_default, devices=devices
    )


def ask(tmp_path: Path, wanted: str | None, has: str, where: str) -> Diagnosis:
    """What these checks say together; without a profile where `wanted` is None."""
    text = f"model: {{id: org/small}}\nbackend: {wanted}\n"
    (tmp_path / "p.yaml").write_text(text)
    facts = Facts(sample_host(tmp_path), request=None if wanted is None else Request("./p.yaml"))
    here, stack = machine(where), STACKS[has]
    facts.machine, facts.stack = Once(lambda: here), Once(lambda: stack)
    if wanted is not None:
        facts.plan = Once(lambda: sample_plan(tmp_path, text, machine=here, stack=stack))
    return diagnose(CHECKS, facts)


def seen(diagnosis: Diagnosis, check: str) -> Outcome:
    return next(one for one in diagnosis.outcomes if one.check.name == check)


EVERY = tuple(
    product(
        (None, "auto", "nxdi", "native", "cpu"),
        STACKS,
        ("inf2.xlarge", "trn1.32xlarge", "trn2.48xlarge", "none"),
    )
)


@pytest.mark.parametrize(("wanted", "has", "where"), EVERY)
def test_no_sentence_is_false(tmp_path: Path, wanted: str | None, has: str, where: str) -> None:
    diagnosis = ask(tmp_path, wanted, has, where)
    stack = STACKS[has]
    told = [*diagnosis.findings, *(hidden for hidden, _ in diagnosis.follows)]
    assert seen(diagnosis, "backend").status != "cannot-tell"
    for finding in told:
        said = f"{finding.message} {finding.fix or ''}"
        assert finding.id not in finding.message, "its id stands before it already"
        assert "None" not in said
        assert "plugin  " not in said
        for version in ("0.4.1", "0.24.0.1.1.0"):
            assert (
                version not in finding.message
                or version == stack.versions.get("vllm-neuron")
                or has == "twice"
            )
        if "trn2 and trn3" in said:
            assert where in ("inf2.xlarge", "trn1.32xlarge")
            assert (
                f"plugin {stack.versions.get('vllm-neuron')} is for" not in said
                or stack.generation == "native"
            )
        if "stands on neuronx-distributed-inference" in said:
            assert stack.generation == "nxdi"
        if "does not say that it was built for processors" in said:
            assert stack.generation == "cpu"
        if wanted is None:
            assert finding.place is None
    ids = [finding.id for finding in diagnosis.findings]
    assert ids.count("stack.no-vllm") <= 1
    if where in ("inf2.xlarge", "trn1.32xlarge") and wanted == "native":
        assert "machine.native-unsupported" in ids
        fixes = " ".join(str(one.fix) for one in diagnosis.findings)
        assert "a Python with the native plugin" not in fixes, "it would not run there"


VERDICTS = {
    # Backend of the profile, what is installed, where: the errors, the exit number, what to type.
    ("native", "nxdi", "inf2.xlarge"): (
        ["machine.native-unsupported"],
        30,
        "set backend: auto or backend: nxdi",
    ),
    ("native", "nxdi", "trn2.48xlarge"): (
        ["stack.other-generation", "stack.backend-not-supported"],
        31,
        "set backend: auto or backend: nxdi; or name a Python with the native plugin (0.21 or newer)",
    ),
    ("native", "native", "trn2.48xlarge"): (["stack.backend-not-supported"], 31, "neuronctl plan ./p.yaml"),
    ("native", "nothing", "trn2.48xlarge"): (
        ["stack.no-vllm", "stack.backend-not-supported"],
        31,
        "--stack sdk-2.32 plans",
    ),
    ("native", "cpu", "inf2.xlarge"): (
        ["machine.native-unsupported", "stack.no-plugin"],
        30,
        "take an image of SDK 2.28",
    ),
    ("auto", "native", "inf2.xlarge"): (["machine.native-unsupported"], 30, "take an image of SDK 2.28"),
    ("auto", "native", "trn2.48xlarge"): (["stack.backend-not-supported"], 31, "plugin 0.2 to 0.5"),
    ("auto", "cpu", "inf2.xlarge"): (["stack.no-plugin"], 31, "backend: cpu in the profile"),
    ("auto", "nothing", "inf2.xlarge"): (
        ["stack.no-vllm"],
        31,
        "as AWS's images and machine images bring it",
    ),
    ("auto", "nothing", "none"): (
        ["stack.no-vllm"],
        31,
        "'/opt/my venv/bin/python' -m pip install 'neuronctl[cpu]'",
    ),
    ("nxdi", "native", "inf2.xlarge"): (
        ["stack.other-generation"],
        31,
        "name a Python with the plugin over NxD Inference (0.2 to 0.5) with --python; or stay on",
    ),
    ("nxdi", "native", "trn2.48xlarge"): (["stack.other-generation"], 31, "for which neuronctl only plans"),
    ("nxdi", "twice", "trn2.48xlarge"): (
        ["stack.other-generation"],
        31,
        "'/opt/my venv/bin/python' -m pip uninstall vllm-neuron until none is left",
    ),
    ("nxdi", "cpu", "inf2.xlarge"): (["stack.no-plugin"], 31, "name the Python of AWS's image"),
    ("cpu", "nxdi", "inf2.xlarge"): (["stack.other-generation"], 31, "a Python with vLLM for processors"),
    ("cpu", "native", "inf2.xlarge"): (["stack.other-generation"], 31, "a Python with vLLM for processors"),
    ("cpu", "cpu", "inf2.xlarge"): ([], 0, ""),
    ("auto", "cpu", "none"): ([], 0, ""),
    (None, "cpu", "inf2.xlarge"): (["stack.no-plugin"], 31, "--python"),
    (None, "nothing", "inf2.xlarge"): (["stack.no-vllm"], 31, "as AWS's images and machine images bring it"),
}


@pytest.mark.parametrize(
    ("asked", "said"), VERDICTS.items(), ids=["-".join(map(str, key)) for key in VERDICTS]
)
def test_the_verdict_and_what_to_type(
    tmp_path: Path, asked: tuple[str | None, str, str], said: tuple[list[str], int, str]
) -> None:
    diagnosis = ask(tmp_path, *asked)
    errors, code, fix = said
    assert [one.id for one in diagnosis.errors] == errors
    assert diagnosis.exit_code() == Exit(code)
    if errors:
        assert fix in str(diagnosis.errors[0].fix)


def test_packages_of_another_backend_are_not_judged(tmp_path: Path) -> None:
    diagnosis = ask(tmp_path, "native", "nxdi", "trn2.48xlarge")
    assert seen(diagnosis, "packages").says == "the serving Python is for nxdi, and native is meant"
    assert seen(diagnosis, "packages").status == "not-here"
