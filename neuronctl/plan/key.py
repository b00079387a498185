"""The artifact key: a hash over all that can change what a compile makes.

When in doubt a setting is part of it: a needless compile is cheaper than a wrong hit. What is known to
affect serving only is listed here, once.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence

from neuronctl.secret import hide_in_words, is_secret, redact, split_flags

KEY_FORMAT = 1

# Engine arguments that change how requests are met, not what is compiled.
SERVING_ONLY_ARGUMENTS = frozenset(
    {
        "served_model_name",
        "tokenizer",
        "chat_template",
        "chat_template_content_format",
        "tool_call_parser",
        "enable_auto_tool_choice",
        "reasoning_parser",
        "seed",
        "disable_log_stats",
        "enable_log_requests",
        "max_log_len",
        "uvicorn_log_level",
        "allowed_origins",
        "root_path",
        "api_key",
        "hf_token",
    }
)

# Variables that change what torch and vLLM compile, by the beginning of their names.
_COMPILING_VARIABLES = ("VLLM_", "TORCH", "PYTORCH_", "OMP_", "KMP_", "MKL_", "GOMP_", "AOT_")
_COMPILING_NAMES = frozenset(
    {"CC", "CXX", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "ATEN_CPU_CAPABILITY"}
)
# Of Neuron's: what the runtime reads when it runs, where output is kept, what is logged, and our own.
_RUNTIME_BEGINNINGS = ("NEURON_RT_", "NEURONCTL_", "NXD_LOG_", "NEURON_MONITOR_", "NXD_INFERENCE_CAPTURE_")
_RUNTIME_VARIABLES = frozenset(
    {
        "NEURON_COMPILED_ARTIFACTS",
        "NEURON_COMPILE_CACHE_URL",
        "NEURON_VISIBLE_DEVICES",
        "NKI_COMPILE_CACHE_URL",
    }
)
# vLLM 0.32 leaves these out of its own cache key (vllm/envs.py, compile_factors).
_SERVING_VARIABLES = frozenset(
    {
        "VLLM_CACHE_ROOT",
        "VLLM_CONFIG_ROOT",
        "VLLM_ASSETS_CACHE",
        "VLLM_HOST_IP",
        "VLLM_PORT",
        "VLLM_RPC_BASE_PATH",
        "VLLM_NO_USAGE_STATS",
        "VLLM_DO_NOT_TRACK",
        "VLLM_USAGE_STATS_SERVER",
        "VLLM_LOGGING_LEVEL",
        "VLLM_LOGGING_PREFIX",
        "VLLM_LOGGING_STREAM",
        "VLLM_LOGGING_CONFIG_PATH",
        "VLLM_LOGGING_COLOR",
        "VLLM_LOG_STATS_INTERVAL",
        "VLLM_CONFIGURE_LOGGING",
        "VLLM_CPU_KVCACHE_SPACE",
        "VLLM_ENABLE_V1_MULTIPROCESSING",
        "VLLM_WORKER_MULTIPROC_METHOD",
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE",
        "TORCHINDUCTOR_CACHE_DIR",
        "TORCHINDUCTOR_COMPILE_THREADS",
    }
)


def hash_inputs(inputs: Mapping[str, object]) -> str:
    """The key of these inputs: 32 hexadecimal digits (128 bits of BLAKE3) over canonical JSON."""
    from blake3 import blake3

    canonical = json.dumps(inputs, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return blake3(canonical.encode()).hexdigest()[:32]


def shown_inputs(inputs: Mapping[str, object]) -> dict[str, object]:
    """The inputs as they may be shown and stored: what looks secret in arguments is `(hidden)`.

    It is part of the key all the same: `key_proj` in a model's overrides looks secret too, and decides what
    is compiled.
    """
    shown = dict(inputs)
    shown["engine"] = redact((), inputs["engine"])
    words = inputs["passthrough"]
    shown["passthrough"] = hide_in_words(words) if isinstance(words, list) else words
    return shown


def compiling_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Those variables that can change what is compiled; none that holds a secret."""
    return {
        name: value
        for name, value in sorted(environ.items())
        if (name.startswith(_COMPILING_VARIABLES) or name in _COMPILING_NAMES)
        and name not in _SERVING_VARIABLES
        and not is_secret((name,))
    }


def compiling_variables(
    environ: Mapping[str, str], names: Collection[str], *, beginnings: tuple[str, ...] = ()
) -> dict[str, str]:
    """Those of the named variables that are set, and all that begin so and are not known to affect serving
    only; none that holds a secret.
    """
    return {
        name: value
        for name, value in sorted(environ.items())
        if name in names
        or (
            name.startswith(beginnings)
            and not name.startswith(_RUNTIME_BEGINNINGS)
            and name not in _RUNTIME_VARIABLES
            and not is_secret((name,))
        )
    }


def compiling_arguments(engine: Mapping[str, object], *, without: Collection[str] = ()) -> dict[str, object]:
    """Engine arguments without those that affect serving only and those named."""
    return {
        name: value
        for name, value in sorted(engine.items())
        if name not in SERVING_ONLY_ARGUMENTS and name not in without
    }


def compiling_passthrough(words: Sequence[str], *, without: Collection[str] = ()) -> list[str]:
    """Words after `--` without serving-only arguments and those named."""
    kept: list[str] = []
    for name, group in split_flags(words):
        plain = name.removeprefix("no_") if name is not None else ""
        if plain not in SERVING_ONLY_ARGUMENTS and plain not in without:
            kept += group
    return kept
