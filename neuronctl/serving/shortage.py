"""Want of memory or disk space: the failures of an engine that are the machine's, told by how it ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neuronctl.errors import MachineUnfit, NeuronctlError, OutOfHostMemory
from neuronctl.serving.supervisor import Outcome

# What strerror(3) says for ENOSPC, EDQUOT and EFBIG, as it ends Python's own messages.
_FULL_DISK = ("No space left on device", "Disk quota exceeded", "File too large")


def failure_details(outcome: Outcome[Any], log: Path) -> dict[str, object]:
    """Facts for the error: where the log is, and those of its lines that name an error, else the last."""
    return {"log": str(log), "last_lines": list(outcome.error_lines or outcome.last_lines[-10:])}


def shortage(outcome: Outcome[Any], what: str, log: Path) -> NeuronctlError | None:
    """The error for an engine that ended for want of memory or disk space; None where neither shows."""
    details = failure_details(outcome, log)
    if outcome.killed_from_outside or outcome.out_of_memory:
        return OutOfHostMemory(
            f"{what} failed: {outcome.reason}",
            fix="use a machine with more memory, or lower engine.max_model_len and engine.max_num_seqs",
            details=details,
        )
    lines = (*outcome.error_lines, *outcome.last_lines)
    if any(said in line for line in lines for said in _FULL_DISK):
        return MachineUnfit(
            f"{what} failed for want of disk space: {outcome.reason}",
            fix="free some space, or keep neuronctl's files on another disk: NEURONCTL_HOME=/path/to/folder",
            code="store.full",
            details=details,
        )
    return None
