"""Table: a snapshot as text for a terminal of any width."""

from __future__ import annotations

import textwrap
import time

from neuronctl.doctor.snapshot import Device, Holder, Server, Snapshot
from neuronctl.machine.cores import CoreSet

_GIB = 2**30
# Narrower ones get a line for each fact.
_WIDE = 60
_NARROWEST = 20


def table(snapshot: Snapshot, width: int) -> str:
    """The snapshot in lines of at most `width` characters, which is taken for 20 where it is less."""
    width = max(width, _NARROWEST)
    memory = snapshot.host_memory
    lines = [
        f"{time.strftime('%H:%M:%S', time.localtime(snapshot.at))}  host memory "
        + (f"{_gib(memory.used_bytes)} of {_gib(memory.total_bytes)} GiB used" if memory else "unknown")
    ]
    rows = [_device_cells(device) for device in snapshot.devices]
    lines += (
        ["", *_rows(("device", "cores", "busy %", "memory GiB", "in use by"), rows, width)] if rows else []
    )
    servers = [_server_cells(server) for server in snapshot.servers]
    if servers:
        lines += ["", *_rows(("server", "port", "health", "process"), servers, width)]
    else:
        lines += ["", "no server of vLLM's or neuronctl's runs here"]
    if not rows:
        lines.append("no Neuron device is here")
    for note in snapshot.notes:
        lines += textwrap.wrap(note, width, subsequent_indent="  ")
    return "\n".join(_cut(line, width) for line in lines)


def _device_cells(device: Device) -> tuple[str, ...]:
    used, total = (_gib(size) for size in (device.memory_used_bytes, device.memory_total_bytes))
    return (
        str(device.index),
        str(CoreSet(tuple(core.id for core in device.cores))) or "unknown",
        " ".join("?" if core.percent is None else f"{core.percent:.0f}" for core in device.cores) or "?",
        f"{used} of {total}",
        "unknown" if device.holders is None else ", ".join(map(_holder, device.holders)) or "nobody",
    )


def _holder(holder: Holder) -> str:
    named = str(holder.process) if holder.process else f"{holder.pid} (not visible from here)"
    return f"{named} on {CoreSet(holder.cores)}" if holder.cores else named


def _server_cells(server: Server) -> tuple[str, ...]:
    one = server.process
    port = "?" if one.port is None else str(one.port)
    return (one.kind, port if one.kind == "vllm" else "-", server.health or "-", str(one.process))


def _rows(head: tuple[str, ...], rows: list[tuple[str, ...]], width: int) -> list[str]:
    """Aligned columns with a head, or where there is no room the facts of each row below each other."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    if width < _WIDE or sum(widths[:-1]) + 2 * len(widths) > width - 12:
        lines: list[str] = []
        for row in rows:
            first, *others = (f"{name} {cell}" for name, cell in zip(head, row, strict=True))
            lines.append(first)
            for fact in others:
                lines += textwrap.wrap(fact, width, initial_indent="  ", subsequent_indent="    ")
        return lines
    return [
        "  ".join(f"{cell:{size}}" for cell, size in zip(row, widths, strict=True)).rstrip()
        for row in [head, *rows]
    ]


def _gib(size_bytes: int | None) -> str:
    return "?" if size_bytes is None else f"{size_bytes / _GIB:.1f}"


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 1] + "…"
