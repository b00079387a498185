"""Runtime status: what the numbers and names of NRT_STATUS mean."""

from __future__ import annotations

from functools import cache

import msgspec

from neuronctl.explain.data import read_data


class RuntimeStatus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One status of the Neuron runtime, such as NRT_RESOURCE (4).

    `fix` is None where no document says what helps; `also_called` is its name in other versions.
    """

    name: str
    value: int
    means: str
    fix: str | None = None
    issue: str | None = None
    also_called: str | None = None


class StatusTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All statuses but success, with who documents them."""

    basis: str
    source: tuple[str, ...]
    statuses: tuple[RuntimeStatus, ...]


@cache
def status_table() -> StatusTable:
    """The table."""
    return read_data("runtime_codes", StatusTable)


@cache
def statuses() -> dict[str, RuntimeStatus]:
    """The statuses by their names, by those of other versions, and by their numbers in decimal."""
    found = {}
    for status in status_table().statuses:
        for name in (status.name, status.also_called, str(status.value)):
            if name is not None:
                found[name] = status
    return found
