"""What the Neuron software will make of a plan, as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from neuronctl.cli.table import cell, columns, indented
from neuronctl.neuron.keys import known_keys
from neuronctl.neuron.outlook import flat_settings
from neuronctl.secret import redact

if TYPE_CHECKING:
    from neuronctl.neuron.estimate import Amount
    from neuronctl.neuron.outlook import Outlook

_GIB = 2**30


def outlook_data(outlook: Outlook) -> dict[str, object]:
    """The outlook as JSON data."""
    prediction, estimate, heads = outlook.prediction, outlook.estimate, outlook.heads
    data: dict[str, object] = {
        "generation": outlook.generation,
        "settings": {
            path: {"value": redact(tuple(path.split(".")), value), "origin": outlook.origins[path]}
            for path, value in flat_settings(outlook.settings)
        },
        "additional_config": redact((), outlook.additional_config),
        "tensor_parallel_size": outlook.tensor_parallel_size,
        "lnc": outlook.lnc,
        "granted_cores": str(outlook.granted) if outlook.granted is not None else None,
        "assigned_cores": str(outlook.assigned) if outlook.assigned is not None else None,
        "predicted": None,
        "heads": None,
        "estimate": None,
        "fitting": list(outlook.fitting),
    }
    if prediction is not None:
        data["predicted"] = {
            "engine": dict(prediction.engine),
            "neuron_config": redact((), dict(prediction.neuron_config)),
            "vision_config": redact((), dict(prediction.vision_config)) if prediction.vision_config else None,
            "buckets": {name: list(sizes) for name, sizes in prediction.buckets.items()},
            "silent": list(prediction.silent),
            "refusals": [
                {"stage": one.stage, "error": one.error, "message": one.message, "issue": one.issue}
                for one in prediction.refusals
            ],
        }
    if heads is not None:
        data["heads"] = {
            "strategy": heads.strategy,
            "padded_heads": heads.padded_heads,
            "kv_heads": heads.kv_heads_after,
            "heads_per_core": heads.heads_per_core,
            "wasted_fraction": round(heads.wasted_fraction, 4),
        }
    if estimate is not None:
        data["estimate"] = {
            "core": _amounts_data(estimate.per_core, estimate.core_memory_bytes),
            "host": _amounts_data(estimate.host, estimate.host_memory_bytes),
            "disk": _amounts_data(estimate.disk, estimate.disk_free_bytes),
            "compile_class": estimate.compile_class,
            "compile_why": estimate.compile_why,
        }
    return data


def outlook_lines(outlook: Outlook) -> list[str]:
    """The Neuron part of a plan for a person: what is handed over, what becomes of it, whether it fits."""
    lines = ["", "Neuron config, handed over"]
    rows = [
        [path, cell(redact(tuple(path.split(".")), value)), outlook.origins[path]]
        for path, value in flat_settings(outlook.settings)
    ]
    lines += indented(columns(rows, widest=50)) if rows else ["  nothing: the plugin's defaults"]
    prediction = outlook.prediction
    if prediction is not None:
        lines += ["", "Neuron config, as the plugin will build it"]
        shown = _told(prediction.neuron_config, outlook.settings)
        if shown:
            lines += indented(columns([[key, cell(value)] for key, value in shown.items()]))
        for name, sizes in prediction.buckets.items():
            lines.append(f"  {name}: {len(sizes)} graph{'s' if len(sizes) != 1 else ''}, {cell(list(sizes))}")
        lines += [f"  silently: {one}" for one in prediction.silent]
    if outlook.assigned is not None:
        lines += ["", f"cores     {outlook.assigned} of {outlook.granted} granted"]
    estimate = outlook.estimate
    if estimate is not None:
        lines += ["", "estimate"]
        for name, amounts, room in (
            ("a core", estimate.per_core, estimate.core_memory_bytes),
            ("host memory", estimate.host, estimate.host_memory_bytes),
            ("disk", estimate.disk, estimate.disk_free_bytes),
        ):
            lines.append(f"  {name:12}{_amounts_text(amounts, room)}")
        lines.append(f"  {'compile':12}{estimate.compile_class} ({estimate.compile_why})")
    if outlook.fitting:
        lines.append(f"  {'would fit':12}{'; or '.join(outlook.fitting)}")
    return lines


# What a person looks for first; all the rest is in --json.
_FIRST = (
    "tp_degree",
    "logical_nc_config",
    "torch_dtype",
    "batch_size",
    "seq_len",
    "max_context_length",
    "is_continuous_batching",
    "is_block_kv_layout",
    "is_prefix_caching",
    "pa_num_blocks",
    "pa_block_size",
    "on_device_sampling_config",
    "quantized",
    "speculation_length",
)


def _told(config: Mapping[str, object], settings: Mapping[str, object]) -> dict[str, object]:
    keys = [key for key in _FIRST if key in config]
    keys += [key for key in settings if key in config and key not in keys]
    return {key: redact((key,), _short(key, config[key])) for key in keys}


def _short(key: str, value: object) -> object:
    """A part of the Neuron config without the entries that are its defaults."""
    if not isinstance(value, Mapping):
        return value
    known = known_keys("nxdi", key) if key == "on_device_sampling_config" else {}
    return {name: one for name, one in value.items() if name not in known or known[name].default != one}


def _amounts_data(amounts: tuple[Amount, ...], room: int | None) -> dict[str, object]:
    return {
        "needed_bytes": sum(one.bytes for one in amounts),
        "available_bytes": room,
        "parts": [
            {
                "name": one.name,
                "bytes": one.bytes,
                "formula": one.formula,
                "basis": one.basis,
                "source": one.source,
            }
            for one in amounts
        ],
    }


def _amounts_text(amounts: tuple[Amount, ...], room: int | None) -> str:
    needed = sum(one.bytes for one in amounts)
    of = f" of {room / _GIB:.1f}" if room is not None else ""
    parts = ", ".join(f"{one.name} {one.bytes / _GIB:.1f}" for one in amounts)
    return f"{needed / _GIB:.1f}{of} GiB: {parts}"
