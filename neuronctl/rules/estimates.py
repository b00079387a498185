"""Rules about what fits: in a core, in the host's memory, on the disk.

What cannot fit even without the guesses is refused; where only the guesses are too much, it is said
(docs/estimates.md). `--force` goes on in spite of an estimate.
"""

from __future__ import annotations

from collections.abc import Iterable

from neuronctl.neuron.estimate import Amount
from neuronctl.rules.place import engine_key
from neuronctl.rules.rule import NEURON, Remark, rule
from neuronctl.rules.situation import Situation

_GIB = 2**30
_CORE = "sdk:libraries/nxd-inference/developer_guides/feature-guide.rst:147-152; neuronctl: docs/estimates.md"
_HOST = (
    "gh:aws-neuron/neuronx-distributed#53, gh:aws-neuron/neuronx-distributed-inference#26; "
    "neuronctl: docs/estimates.md"
)
_DISK = "neuronctl: docs/estimates.md"
_MORE_SPACE = "free space, or set NEURONCTL_HOME (and HF_HOME for the download) to a larger disk"
_SMALLER = "take a smaller model, or smaller weights (features.quantization.weights: int8)"


@rule("estimate.core", "error", _CORE, backends=NEURON, covers=("device-oom",), forcible=True)
def core(situation: Situation) -> Remark | None:
    """Weights and KV cache must fit in the device memory of each logical core.

    What is counted follows from AWS's formula, without any guess. Where it is more than there is, loading
    ends in an allocation failure after the whole compile.
    """
    found = situation.outlook.estimate if situation.outlook else None
    if found is None or "core" not in found.refused:
        return None
    amounts = _sure(found.per_core)
    return Remark(
        f"with {_asked(situation)} a logical core must hold {_sum(amounts)}, "
        f"and {_has(situation, found.core_memory_bytes)} on each",
        fix=_core_fix(situation, amounts),
        key=engine_key(situation, "tensor_parallel_size"),
    )


@rule("estimate.core-tight", "warning", _CORE, backends=NEURON, covers=("device-oom",), forcible=True)
def core_tight(situation: Situation) -> Remark | None:
    """Weights and KV cache fit in a logical core, with nothing left for what is only guessed.

    Workspace and adapters are guesses of neuronctl's; the device decides.
    """
    found = situation.outlook.estimate if situation.outlook else None
    if found is None or "core" not in found.doubtful:
        return None
    return Remark(
        f"with {_asked(situation)} a logical core must hold about {_sum(found.per_core)}, "
        f"and {_has(situation, found.core_memory_bytes)} on each",
        fix=_core_fix(situation, found.per_core),
        key=engine_key(situation, "tensor_parallel_size"),
    )


@rule(
    "estimate.host",
    "error",
    _HOST,
    backends=NEURON,
    covers=("compile-oom-host",),
    forcible=True,
    compiling=True,
)
def host(situation: Situation) -> Remark | None:
    """The checkpoint and all its shards are in the host's memory at once when a model is compiled.

    Where they alone are more than there is, the kernel kills the compile (`Killed`, -9, F137).
    """
    found = situation.outlook.estimate if situation.outlook else None
    if found is None or "host" not in found.refused:
        return None
    return Remark(
        f"compiling takes {_sum(_sure(found.host))} of the host's memory, "
        f"and {_has(situation, found.host_memory_bytes)}",
        fix=_fix(situation, "compile it on a host with more memory"),
        key="model.id",
    )


@rule(
    "estimate.host-tight",
    "warning",
    _HOST,
    backends=NEURON,
    covers=("compile-oom-host",),
    forcible=True,
    compiling=True,
)
def host_tight(situation: Situation) -> Remark | None:
    """Checkpoint and shards fit in the host's memory, but not beside the compiler.

    How much the compiler takes is a guess; Llama 3.1 8B was reported to be killed on a host with 32 GiB.
    """
    found = situation.outlook.estimate if situation.outlook else None
    if found is None or "host" not in found.doubtful:
        return None
    return Remark(
        f"compiling takes about {_sum(found.host)} of the host's memory, "
        f"and {_has(situation, found.host_memory_bytes)}",
        fix=_fix(situation, "compile it on a host with more memory"),
        key="model.id",
    )


@rule("estimate.disk", "error", _DISK, backends=NEURON, forcible=True, compiling=True)
def disk(situation: Situation) -> Remark | None:
    """The download and the sharded weights must fit on the disk, or both were for nothing."""
    found = situation.outlook.estimate if situation.outlook else None
    if found is None or "disk" not in found.refused:
        return None
    return Remark(
        f"{_sum(_sure(found.disk))} are to be written, "
        f"and {_gib(found.disk_free_bytes)} are free where neuronctl keeps its artifacts",
        fix=_MORE_SPACE,
    )


@rule("estimate.disk-tight", "warning", _DISK, backends=NEURON, forcible=True, compiling=True)
def disk_tight(situation: Situation) -> Remark | None:
    """Weights fit on the disk, but perhaps not with the compiled graphs, whose size is a guess."""
    found = situation.outlook.estimate if situation.outlook else None
    if found is None or "disk" not in found.doubtful:
        return None
    return Remark(
        f"about {_sum(found.disk)} are to be written, "
        f"and {_gib(found.disk_free_bytes)} are free where neuronctl keeps its artifacts",
        fix=_MORE_SPACE,
    )


@rule("estimate.none", "info", "neuronctl: docs/estimates.md", backends=NEURON)
def none(situation: Situation) -> Remark | None:
    """What fits is not estimated, because the model's configuration says too little about its size."""
    outlook, facts = situation.outlook, situation.model.facts
    if outlook is None or outlook.estimate is not None or situation.machine.instance is None:
        return None
    wanted = {
        "num_hidden_layers": facts.layers,
        "hidden_size": facts.hidden_size,
        "num_attention_heads": facts.attention_heads,
        "vocab_size": facts.vocabulary,
    }
    lacks = [name for name, value in wanted.items() if value is None]
    why = f"config.json does not say {', '.join(lacks)}"
    if not lacks:
        why = f"the size of a {facts.architecture} is not known before its weights are here"
    return Remark(f"whether the model fits is not estimated: {why}", key="model.id")


def _asked(situation: Situation) -> str:
    """The settings by which the user decides how much a core must hold."""
    degree = situation.outlook.tensor_parallel_size if situation.outlook else None
    said = {name: situation.engine.get(name) for name in ("max_model_len", "max_num_seqs")}
    return ", ".join(f"{name} {value}" for name, value in {"tensor_parallel_size": degree, **said}.items())


def _sure(amounts: Iterable[Amount]) -> list[Amount]:
    return [amount for amount in amounts if amount.basis != "assumed"]


def _sum(amounts: Iterable[Amount]) -> str:
    """The total, and what it is of; guesses are marked."""
    listed = tuple(amounts)
    parts = (
        f"{one.name} {_gib(one.bytes)}{' guessed' if one.basis == 'assumed' else ''}"
        for one in listed
        if one.bytes
    )
    return f"{_gib(sum(one.bytes for one in listed))} ({', '.join(parts)})"


def _has(situation: Situation, room_bytes: int | None) -> str:
    return f"{situation.machine.instance_name or 'this machine'} has {_gib(room_bytes)}"


def _gib(size_bytes: int | None) -> str:
    return f"{(size_bytes or 0) / _GIB:.1f} GiB"


def _core_fix(situation: Situation, amounts: Iterable[Amount]) -> str:
    """Lower what takes the most: where that is the adapters, their rank and number."""
    listed = tuple(amounts)
    adapters = sum(one.bytes for one in listed if one.name.startswith("LoRA"))
    if 2 * adapters <= sum(one.bytes for one in listed):
        return _fix(situation, _SMALLER)
    said = ", ".join(
        f"{name} {situation.engine[name]}"
        for name in ("max_lora_rank", "max_loras")
        if name in situation.engine
    )
    return f"lower features.lora.max_rank or features.lora.max_loras (now {said or 'the defaults'})"


def _fix(situation: Situation, otherwise: str) -> str:
    fitting = situation.outlook.fitting if situation.outlook else ()
    return f"what would fit: {', or '.join(fitting)}" if fitting else otherwise


RULES = (core, core_tight, host, host_tight, disk, disk_tight, none)
