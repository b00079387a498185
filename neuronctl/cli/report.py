"""A report of an error that we did not expect: for the person who mends it, without secrets."""

from __future__ import annotations

import traceback
from contextlib import suppress
from pathlib import Path

import neuronctl
from neuronctl.cli.invocation import Invocation
from neuronctl.errors import Exit, NeuronctlError
from neuronctl.redaction.redaction import Redaction
from neuronctl.secret import hide_assignment, is_secret, secret_values, split_flags


class OurBug(NeuronctlError):
    """Something happened that neuronctl has no words for."""

    code = "bug"
    exit_code = Exit.OUR_BUG


def our_bug(error: Exception, call: Invocation, words: list[str]) -> OurBug:
    """Write the report and say where it is."""
    redaction = Redaction(_secrets(call))
    kind = redaction.text(f"{type(error).__name__}: {error}")
    text = "".join(traceback.format_exception(error))
    shown = [hide_assignment(word) for word in words]
    report = redaction.text(
        f"neuronctl {neuronctl.__version__}\ncommand: {call.command}\nwords: {shown}\n\n{text}"
    )
    try:
        path = _write(call, report)
    except OSError as refused:
        return OurBug(f"an unexpected error: {kind} (and no report could be written: {refused})")
    return OurBug(
        f"an unexpected error: {kind}",
        fix=f"please report it with the file {path}",
        details={"report": str(path)},
    )


def _secrets(call: Invocation) -> set[str]:
    """The values of variables and of passed-on flags whose names say that they hold a secret."""
    secrets = {*secret_values(call.host.environ)}
    for name, group in split_flags(call.passthrough):
        if name is not None and is_secret((name,)):
            secrets |= {group[0].partition("=")[2], *group[1:]}
    return secrets


def _write(call: Invocation, report: str) -> Path:
    import tempfile
    import time

    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(call.host.now()))
    folders = [Path(tempfile.gettempdir())]
    with suppress(NeuronctlError):  # a user without a home folder
        folders.insert(0, call.host.neuronctl_home / "reports")
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"neuronctl-{stamp}.txt"
            path.write_text(report, encoding="utf-8", errors="backslashreplace")
        except OSError:
            continue
        return path
    raise OSError("neither the cache nor the temporary folder can be written")
