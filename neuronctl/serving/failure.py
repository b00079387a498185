"""Why an engine failed: what its log is known to mean, and want of memory or disk space."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuronctl.errors import MachineUnfit, NeuronctlError, OutOfHostMemory
from neuronctl.explain.explain import Explanation, explain_tail
from neuronctl.explain.line import read_lines
from neuronctl.serving.supervisor import Outcome

# What strerror(3) says for ENOSPC, EDQUOT and EFBIG, as it ends Python's own messages.
_FULL_DISK = ("No space left on device", "Disk quota exceeded", "File too large")
# The kind of what is known of a want of memory of the host (explain/patterns.yaml).
_MEMORY = "host memory"
# Of a longer log the end is read: errors stand there, and a person waits.
_READ_BYTES = 16 * 2**20


def failure_details(outcome: Outcome[Any], log: Path) -> dict[str, object]:
    """Facts for the error: where the log is, those of its lines that name an error, else the one that is
    known to tell the cause, else the last; and what is known about it (`explained`; see `neuronctl explain`).
    """
    known = _explain(outcome, log)
    telling = [known.line] if known is not None and known.rank == "cause" and known.line else []
    details: dict[str, object] = {
        "log": str(log),
        "last_lines": list(outcome.error_lines) or telling or list(outcome.last_lines[-10:]),
    }
    if known is not None:
        words = ("id", "issue", "kind", "rank", "title", "why", "fix", "source", "basis", "line")
        details["explained"] = {word: getattr(known, word) for word in words}
    return details


def what_to_try(details: Mapping[str, object], log: Path) -> str:
    """The fix for an error with these details: what is known to help, else a look at the log."""
    known = details.get("explained")
    return str(known["fix"]) if isinstance(known, Mapping) else f"look at the log {log}"


def _explain(outcome: Outcome[Any], log: Path) -> Explanation | None:
    code = outcome.code
    if outcome.signal is not None and (outcome.killed_from_outside or outcome.signal != signal.SIGKILL):
        code = -outcome.signal  # a KILL of our own explains nothing
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - _READ_BYTES))
            return explain_tail(read_lines(stream), code)
    except OSError:
        return explain_tail((*outcome.error_lines, *outcome.last_lines), code)


def shortage(
    outcome: Outcome[Any], what: str, details: dict[str, object], log: Path
) -> NeuronctlError | None:
    """The error for an engine that ended for want of memory or disk space; None where neither shows.

    `details` are those of failure_details.
    """
    known = details.get("explained")
    # A compiler that was killed ends its parent with an exception: then only the log tells.
    for_memory = isinstance(known, Mapping) and known["kind"] == _MEMORY and known["rank"] == "cause"
    if outcome.killed_from_outside or outcome.out_of_memory or for_memory:
        fix = "use a machine with more memory, or lower engine.max_model_len and engine.max_num_seqs"
        return OutOfHostMemory(
            f"{what} failed: {outcome.reason}",
            fix=what_to_try(details, log) if for_memory else fix,
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
