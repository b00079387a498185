"""Estimates: what fits in a core, in the host's memory and on the disk, and how long a compile may take.

Plain arithmetic on NxD Inference. Each amount says on what it rests: `derived` (it follows from pages and
code that were read) or `assumed` (nobody gives a number; ours is a guess). Only what does not rest on
guesses refuses a plan; see docs/estimates.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from neuronctl.neuron.heads import divides_heads, shard_heads

Basis = Literal["derived", "assumed"]
CompileClass = Literal["minutes", "tens of minutes", "an hour or more"]

MIB = 1024**2
GIB = 1024**3

# Guesses, in one place. Nothing that was read gives a number for them.
CORE_FIXED_BYTES = 256 * MIB
CORE_BYTES_PER_GRAPH = 32 * MIB
ACTIVATION_COPIES = 4
COMPILER_BYTES = 4 * GIB
PROCESS_BYTES = 2 * GIB
DISK_BYTES_PER_LAYER_AND_GRAPH = 4 * MIB
MINUTES_BELOW = 200
HOUR_FROM = 2000

_GUIDE = "sdk:libraries/nxd-inference/developer_guides/feature-guide.rst"
_HEADS = "nxdi:src/neuronx_distributed_inference/modules/attention/gqa.py"
_CACHE = "nxdi:src/neuronx_distributed_inference/modules/kvcache"
_APPLICATION = "nxdi:src/neuronx_distributed_inference/models/application_base.py"
_SHARDING = "nxd:src/neuronx_distributed/trace/model_builder.py:827-858"
_KILLED = "gh:aws-neuron/neuronx-distributed#53, gh:aws-neuron/neuronx-distributed-inference#26"
_OURS = "neuronctl"

_LENGTH_STEP = 128
_LORA_LEAST = "adapters x rank x layers x both ends of the smallest projection x bytes of the type / TP"
_LORA_REST = "the same for all projections, whole on each core, less the least"


@dataclass(frozen=True)
class Load:
    """What is to be put on the machine.

    `weight_bytes` is the checkpoint as stored, `dtype_bytes` the size of a value in the type it runs in,
    `kv_bytes_per_value` that of a value in the KV cache. `length` and `context_length` are the longest
    sequence and the longest prefill in tokens. `kv_blocks` is `pa_num_blocks` with the block KV layout,
    None with the contiguous one. `draft_parameters` counts the `lm_head` that NxD Inference wants in an
    EAGLE head; `lora_bytes` is all adapters together if they change every projection, `lora_least_bytes` if
    they change the smallest one only. `is_stored_quantized` says that the checkpoint's own
    weights take one byte each; `is_downloaded` that it is on the disk already. `may_pad` says that AWS itself
    runs the model with padded heads; `shared_lengths` are the prefills that sequence parallelism shares
    evenly, so that TP must divide them.
    """

    parameters: int
    weight_bytes: int
    layers: int
    kv_heads: int
    attention_heads: int
    head_dim: int
    hidden_size: int
    vocabulary: int
    tp_degree: int
    kv_heads_per_core: int
    dtype_bytes: int
    quantized: Literal["int8", "fp8"] | None
    kv_bytes_per_value: int
    batch: int
    length: int
    context_length: int
    kv_blocks: int | None
    block_size: int | None
    context_buckets: int
    decode_buckets: int
    draft_parameters: int = 0
    draft_layers: int = 0
    lora_bytes: int = 0
    lora_least_bytes: int = 0
    is_tied: bool = False
    is_moe: bool = False
    is_multimodal: bool = False
    save_sharded: bool = False
    is_stored_quantized: bool = False
    is_downloaded: bool = False
    may_pad: bool = False
    shared_lengths: tuple[int, ...] = ()


@dataclass(frozen=True)
class Room:
    """What a machine has. `core_memory_bytes` is a logical core's; None stands for what nobody says."""

    core_memory_bytes: int | None
    cores: int
    host_memory_bytes: int | None
    disk_free_bytes: int | None
    tp_degrees: tuple[int, ...] | None


@dataclass(frozen=True)
class Amount:
    """One part of an estimate, with its formula and what it rests on."""

    name: str
    bytes: int
    formula: str
    basis: Basis
    source: str


@dataclass(frozen=True)
class Estimate:
    """What a load takes of a core, of the host's memory and of the disk, against what there is."""

    per_core: tuple[Amount, ...]
    core_memory_bytes: int | None
    host: tuple[Amount, ...]
    host_memory_bytes: int | None
    disk: tuple[Amount, ...]
    disk_free_bytes: int | None
    compile_class: CompileClass
    compile_why: str

    @cached_property
    def core_bytes(self) -> int:
        """All that a logical core must hold."""
        return _total(self.per_core)

    @cached_property
    def host_bytes(self) -> int:
        """The host's memory at the peak of compiling and sharding."""
        return _total(self.host)

    @cached_property
    def disk_bytes(self) -> int:
        """All that is to be written."""
        return _total(self.disk)

    @property
    def fits_core(self) -> bool | None:
        """Guesses included; None where the core's memory is not known."""
        return _fits(self.core_bytes, self.core_memory_bytes)

    @property
    def fits_host(self) -> bool | None:
        """Guesses included; None where the host's memory is not known."""
        return _fits(self.host_bytes, self.host_memory_bytes)

    @property
    def fits_disk(self) -> bool | None:
        """Guesses included; None where the free space is not known."""
        return _fits(self.disk_bytes, self.disk_free_bytes)

    @cached_property
    def refused(self) -> tuple[str, ...]:
        """Which of core, host and disk cannot hold even the amounts that are not guesses."""
        return tuple(name for name, amounts, room in self._places if _fits(_sure(amounts), room) is False)

    @cached_property
    def doubtful(self) -> tuple[str, ...]:
        """Which of core, host and disk hold what is sure, but not the guesses too."""
        full = (name for name, amounts, room in self._places if _fits(_total(amounts), room) is False)
        return tuple(name for name in full if name not in self.refused)

    @property
    def _places(self) -> tuple[tuple[str, tuple[Amount, ...], int | None], ...]:
        return (
            ("core", self.per_core, self.core_memory_bytes),
            ("host", self.host, self.host_memory_bytes),
            ("disk", self.disk, self.disk_free_bytes),
        )


def kv_heads_per_core(kv_heads: int, attention_heads: int, tp_degree: int) -> int:
    """KV heads in each core's cache, as NxD Inference replicates and pads them (heads.py)."""
    return shard_heads(attention_heads, kv_heads, tp_degree).kv_heads_after // tp_degree


def estimate(load: Load, room: Room) -> Estimate:
    """What `load` takes of `room`."""
    weights = _weights(load)
    draft_weights = _ceil(load.draft_parameters * load.dtype_bytes, load.tp_degree)
    compile_class, why = _compile_class(load)
    return Estimate(
        per_core=_per_core(load, weights, draft_weights),
        core_memory_bytes=room.core_memory_bytes,
        host=_host(load, (weights + draft_weights) * load.tp_degree),
        host_memory_bytes=room.host_memory_bytes,
        disk=_disk(load, (weights + draft_weights) * load.tp_degree),
        disk_free_bytes=room.disk_free_bytes,
        compile_class=compile_class,
        compile_why=why,
    )


def smallest_that_fits(
    load: Load, room: Room, others: Sequence[tuple[str, Room]], longest: int | None = None
) -> tuple[str, ...]:
    """What would fit instead, in words that can be typed; nothing where `load` fits, or where nothing does.

    The smallest other TP on this machine. Where none fits: the longest length, the largest batch, and the
    first of `others`, which come in order of size. Each was estimated again and fits, guesses included.
    `longest` is the longest sequence that the model can take: nothing beyond it is judged. A host whose
    memory is not known is no answer where the host's memory is short.
    """
    if longest is not None and longest < load.length:
        load = _resized(load, length=longest)
        if _holds(load, room):
            return (f"engine.max_model_len: {longest}",)
    if _holds(load, room):
        return ()
    tp_degree = _smallest_tp(load, room)
    if tp_degree is not None:
        return (f"engine.tensor_parallel_size: {tp_degree}",)
    words = []
    steps = _largest(
        (load.length - 1) // _LENGTH_STEP,
        lambda steps: _holds(_resized(load, length=steps * _LENGTH_STEP), room),
    )
    if steps:
        words.append(f"engine.max_model_len: {steps * _LENGTH_STEP}")
    batch = _largest(load.batch - 1, lambda batch: _holds(_resized(load, batch=batch), room))
    if batch:
        words.append(f"engine.max_num_seqs: {batch}")
    is_host_short = estimate(load, room).fits_host is False
    for name, other in others:
        if is_host_short and other.host_memory_bytes is None:
            continue
        if _holds(load, other):
            words.append(name)
            break
        other_tp = _smallest_tp(load, other)
        if other_tp is not None:
            words.append(f"{name} with engine.tensor_parallel_size: {other_tp}")
            break
    return tuple(words)


def _per_core(load: Load, weights: int, draft_weights: int) -> tuple[Amount, ...]:
    one_token = 2 * load.kv_heads_per_core * load.head_dim * load.kv_bytes_per_value
    if load.kv_blocks is None:
        tokens, spelt = load.batch * load.length, "batch x length"
    else:
        # One block more than pa_num_blocks takes what is written for nobody (block_kv_cache_manager.py).
        tokens, spelt = (load.kv_blocks + 1) * (load.block_size or 1), "(blocks + 1) x block size"
    activations = ACTIVATION_COPIES * load.context_length * load.hidden_size * load.dtype_bytes
    amounts = [
        Amount(
            "weights",
            weights,
            "(parameters x bytes of the type + heads replicated or padded) / TP",
            "derived",
            f"{_GUIDE}:147-152; {_HEADS}",
        ),
        Amount(
            "KV cache",
            load.layers * one_token * tokens,
            f"2 x layers x KV heads per core x head size x bytes of a value x {spelt}",
            "derived",
            f"{_GUIDE}:147-152; {_CACHE}",
        ),
        Amount(
            "workspace",
            CORE_FIXED_BYTES + CORE_BYTES_PER_GRAPH * _graphs(load) + activations,
            "256 MiB + 32 MiB x graphs + 4 x longest prefill x hidden size x bytes of the type",
            "assumed",
            _OURS,
        ),
    ]
    if load.draft_parameters:
        amounts.append(
            Amount(
                "draft",
                draft_weights + load.draft_layers * one_token * tokens,
                "draft parameters x bytes of the type / TP + its KV cache, with the heads of the model",
                "derived",
                f"{_GUIDE}:640-710",
            )
        )
    if load.lora_bytes:
        # Which projections they change the adapters say; which matrices the cores share was not read.
        least = _ceil(load.lora_least_bytes, load.tp_degree)
        rest = load.lora_bytes - least
        if least:
            amounts.append(Amount("LoRA at least", least, _LORA_LEAST, "derived", _OURS))
        if rest:
            amounts.append(Amount("LoRA adapters", rest, _LORA_REST, "assumed", _OURS))
    return tuple(amounts)


def _host(load: Load, shards_bytes: int) -> tuple[Amount, ...]:
    return (
        Amount(
            "checkpoint", load.weight_bytes, "bytes of the checkpoint", "derived", f"{_SHARDING}; {_KILLED}"
        ),
        Amount("shards", shards_bytes, "weights per core x TP, all held at once", "derived", _SHARDING),
        Amount("compiler", COMPILER_BYTES, "4 GiB", "assumed", _OURS),
        Amount("processes", PROCESS_BYTES, "2 GiB for vLLM, torch and the system", "assumed", _OURS),
    )


def _disk(load: Load, shards_bytes: int) -> tuple[Amount, ...]:
    amounts = []
    if not load.is_downloaded:
        draft_bytes = load.draft_parameters * load.dtype_bytes
        amounts.append(
            Amount("download", load.weight_bytes + draft_bytes, "bytes of the checkpoints", "derived", _OURS)
        )
    if load.save_sharded:
        amounts.append(
            Amount(
                "sharded weights",
                shards_bytes,
                "weights per core x TP",
                "derived",
                f"{_APPLICATION}:390-399",
            )
        )
    if load.quantized:
        amounts.append(
            Amount(
                "quantized checkpoint",
                _model_bytes(load),
                "bytes of the quantized model",
                "derived",
                f"{_APPLICATION} (save_quantized_state_dict)",
            )
        )
    graphs_bytes = DISK_BYTES_PER_LAYER_AND_GRAPH * load.layers * _graphs(load)
    amounts.append(Amount("compiled graphs", graphs_bytes, "4 MiB x layers x graphs", "assumed", _OURS))
    return tuple(amounts)


def _model_bytes(load: Load) -> int:
    """The whole model in bytes, as it goes to the device, each head once.

    Tied embeddings are two tensors there: NxD Inference clones the input embedding as `lm_head`. With INT8
    and FP8 a value takes one byte; both embeddings are counted as not quantised.
    """
    embedding = load.vocabulary * load.hidden_size
    parameters = load.parameters + (embedding if load.is_tied else 0)
    wide = min(parameters, 2 * embedding)
    return wide * load.dtype_bytes + (parameters - wide) * _linear_bytes(load)


def _weights(load: Load) -> int:
    """Weights of one core in bytes: its part of the model, and of the heads that are copied or padded."""
    more_kv_heads = load.kv_heads_per_core * load.tp_degree - load.kv_heads
    more_heads = _ceil(load.attention_heads, load.tp_degree) * load.tp_degree - load.attention_heads
    # A KV head has rows in two projections (K and V), an attention head in two (Q and the output).
    one_head = 2 * load.layers * load.hidden_size * load.head_dim * _linear_bytes(load)
    return _ceil(_model_bytes(load) + (more_kv_heads + more_heads) * one_head, load.tp_degree)


def _linear_bytes(load: Load) -> int:
    return 1 if load.quantized or load.is_stored_quantized else load.dtype_bytes


def _graphs(load: Load) -> int:
    """Graphs to compile: one a bucket of prefill and of decoding; a vision encoder has its own as well."""
    return (load.context_buckets + load.decode_buckets) * (2 if load.is_multimodal else 1)


def _compile_class(load: Load) -> tuple[CompileClass, str]:
    """A class from field reports (15 to 60 minutes for models of 8B to 70B), not a measurement."""
    graphs = _graphs(load)
    layers = load.layers + load.draft_layers
    work = layers * graphs * load.hidden_size // 4096 * (2 if load.is_moe else 1)
    why = f"{layers} layers of width {load.hidden_size} in {graphs} graphs"
    if load.is_moe:
        why += ", with experts"
    why += "; a class guessed from field reports, not a measurement"
    if work < MINUTES_BELOW:
        return "minutes", why
    return ("tens of minutes" if work < HOUR_FROM else "an hour or more"), why


def _holds(load: Load, room: Room) -> bool:
    """Whether nothing known speaks against `load` in `room`, guesses included."""
    if load.tp_degree > room.cores or (room.tp_degrees and load.tp_degree not in room.tp_degrees):
        return False
    found = estimate(load, room)
    return False not in (found.fits_core, found.fits_host, found.fits_disk)


def fitting_degrees(load: Load, room: Room) -> tuple[int, ...]:
    """Every TP that divides the heads (as AWS asks) and fits: those documented, of all if none is."""
    documented = tuple(_fitting(load, room, listed_degrees(room)))
    if documented or room.tp_degrees is None:
        return documented
    return tuple(_fitting(load, replace(room, tp_degrees=None), range(1, room.cores + 1)))


def listed_degrees(room: Room) -> tuple[int, ...]:
    """The degrees that are documented for `room`, powers of two where no list is; ascending."""
    return tuple(sorted(room.tp_degrees or (2**power for power in range(room.cores.bit_length()))))


def _smallest_tp(load: Load, room: Room) -> int | None:
    """The smallest listed TP that divides the heads and fits."""
    return next(_fitting(load, room, listed_degrees(room)), None)


def _fitting(load: Load, room: Room, degrees: Iterable[int]) -> Iterator[int]:
    for degree in degrees:
        divides = divides_heads(load.attention_heads, load.kv_heads, degree, may_pad=load.may_pad)
        divides = divides and not any(length % degree for length in load.shared_lengths)
        if divides and _holds(_resized(load, tp_degree=degree), room):
            yield degree


def _resized(
    load: Load, *, tp_degree: int | None = None, length: int | None = None, batch: int | None = None
) -> Load:
    """The same load with another TP, length or batch, and with what follows from them."""
    tp_degree, length, batch = tp_degree or load.tp_degree, length or load.length, batch or load.batch
    blocks = load.kv_blocks
    if blocks is not None and load.block_size:
        blocks = min(blocks, _ceil(length, load.block_size) * batch)
    heads = load.kv_heads_per_core
    if tp_degree != load.tp_degree:
        heads = kv_heads_per_core(load.kv_heads, load.attention_heads, tp_degree)
    return replace(
        load,
        tp_degree=tp_degree,
        kv_heads_per_core=heads,
        length=length,
        context_length=min(load.context_length, length),
        batch=batch,
        kv_blocks=blocks,
    )


def _largest(most: int, holds: Callable[[int], bool]) -> int:
    """The largest number from 1 to `most` for which `holds`, 0 where there is none.

    Bisects: what holds for a number must hold for each smaller one.
    """
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low


def _total(amounts: Iterable[Amount]) -> int:
    return sum(amount.bytes for amount in amounts)


def _sure(amounts: Iterable[Amount]) -> int:
    return _total(amount for amount in amounts if amount.basis != "assumed")


def _fits(size_bytes: int, room_bytes: int | None) -> bool | None:
    return None if room_bytes is None else size_bytes < room_bytes


def _ceil(number: int, divisor: int) -> int:
    return -(-number // divisor)
