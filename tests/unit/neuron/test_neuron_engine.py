from __future__ import annotations

from typing import Any

import pytest

from neuronctl.neuron.engine import SCHEDULER, Engine, resolve_engine

GIB = 1024**3


def resolve(
    vllm: str = "0.11.0",
    environment: dict[str, str] | None = None,
    host_memory_bytes: int | None = None,
    **stated: Any,
) -> Engine:
    return resolve_engine(
        {"max_model_len": 1024, "enable_prefix_caching": False, **stated},
        vllm=vllm,
        environment=environment or {},
        host_memory_bytes=host_memory_bytes,
    )


NATIVE_SCHEDULER = {"DISABLE_NEURON_CUSTOM_SCHEDULER": "1"}


def test_the_defaults() -> None:
    engine = resolve()
    assert engine.values == {
        "tensor_parallel_size": 1,
        "block_size": 1024,
        "max_num_seqs": 256,
        "max_num_batched_tokens": 131072,
        "max_model_len": 1024,
        "enable_prefix_caching": False,
        "num_gpu_blocks_override": None,
        "enable_chunked_prefill": False,
        "distributed_executor_backend": "uni",
        "scheduler": SCHEDULER,
    }
    assert (engine.silent, engine.errors) == ((), ())


def test_swap_space_may_take_seven_tenths_of_the_memory() -> None:
    # 4 GiB a rank by default; 7 ranks in 40 GiB are exactly 70 %.
    assert resolve(tensor_parallel_size=7, host_memory_bytes=40 * GIB).errors == ()
    ((text, issue),) = resolve(tensor_parallel_size=7, host_memory_bytes=40 * GIB - GIB).errors
    assert text.startswith("Value error, Too large swap space. 28.00 GiB out of the 39.00 GiB total")
    assert issue is None
    assert resolve(tensor_parallel_size=7, swap_space=0, host_memory_bytes=GIB).errors == ()
    assert resolve(tensor_parallel_size=7).errors == ()


@pytest.mark.parametrize(("vllm", "chunked"), [("0.11.0", True), ("0.13.0", False), ("0.16.0", False)])
def test_only_vllm_0_11_insists_on_chunked_prefill(vllm: str, chunked: bool) -> None:
    engine = resolve(vllm, NATIVE_SCHEDULER, enable_chunked_prefill=False, block_size=32)
    assert engine.values["enable_chunked_prefill"] is chunked


def test_vllm_s_own_scheduler_keeps_what_was_said() -> None:
    engine = resolve(environment=NATIVE_SCHEDULER, block_size=32, max_num_batched_tokens=512)
    assert engine.silent == ()
    assert engine.values["scheduler"] is None
    assert (engine.values["block_size"], engine.values["max_num_batched_tokens"]) == (32, 512)


def test_a_switch_that_is_no_number_stops_the_start() -> None:
    ((text, _),) = resolve(environment={"DISABLE_NEURON_CUSTOM_SCHEDULER": "yes"}).errors
    assert text == "Value error, invalid literal for int() with base 10: 'yes'"


def test_one_process_drives_all_cores() -> None:
    engine = resolve(tensor_parallel_size=2, pipeline_parallel_size=2, distributed_executor_backend="ray")
    assert engine.values["distributed_executor_backend"] == "uni"
    assert engine.silent == ("distributed_executor_backend ray becomes uni: one process drives all cores",)
    assert resolve(distributed_executor_backend="mp").values["distributed_executor_backend"] == "mp"


@pytest.mark.parametrize("size", [1000, 1e308, 10**400])
def test_swap_space_however_large_is_refused(size: float) -> None:
    ((text, _),) = resolve(tensor_parallel_size=8, swap_space=size, host_memory_bytes=64 * GIB).errors
    assert text.startswith("Value error, Too large swap space.")
