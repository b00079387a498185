"""`neuronctl compile` for many profiles: one answer, one report, one exit number."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from neuronctl.cli.invocation import Invocation
from neuronctl.cli.junit import junit_xml
from neuronctl.cli.render import AnswerNotWritten
from neuronctl.cli.table import columns
from neuronctl.errors import UsageError
from neuronctl.pipeline import Request
from neuronctl.precompile.precompile import Precompiled, Way, precompile
from neuronctl.precompile.verdict import OUTCOMES, Trouble, Verdict, worst
from neuronctl.result import Message, Result
from neuronctl.serving.stopped import stopped_by
from neuronctl.whole_file import write_whole

_WIDEST_ERROR = 60
# What may be overwritten: a profile must not, when a shell writes `--junit profiles/*.yaml` out.
_REPORTS = (b"<?xml", b"<testsuite")


def compile_many(requests: Sequence[Request], call: Invocation, way: Way, *, junit: str | None) -> Result:
    """Compile what is not compiled, or with `way.check` say what is. Raises UsageError for `junit`."""
    report = None if junit is None else _report_path(junit, requests, call)
    done = precompile(requests, call.host, way, tell=call.tell)
    exit_code = done.exit_code
    errors = [
        trouble.as_data(reference=verdict.reference)
        for verdict in done.verdicts
        if verdict.same_as is None
        for trouble in verdict.troubles
    ]
    if done.stopped_by is not None:
        stopped = stopped_by(done.stopped_by, "the compile of these profiles")
        errors += [trouble.as_data() for trouble in Trouble.all_of(stopped)]
    if report is not None:
        try:
            write_whole(report, junit_xml(done.verdicts, done.took_s))
        except OSError as error:
            lost = AnswerNotWritten(
                f"--junit {junit} cannot be written any more: {error.strerror}",
                fix="free some space and type the same command again: what is compiled is a hit",
            )
            call.tell(Message(f"{lost.what}\ntry: {lost.fix}", "warn"))
            errors += [trouble.as_data() for trouble in Trouble.all_of(lost)]
            exit_code = worst([exit_code, lost.exit_code])
    return Result(
        "compile",
        _describe(done, way),
        exit_code=exit_code,
        findings=tuple(dict.fromkeys(finding for one in done.verdicts for finding in one.findings)),
        text=None if call.as_json else _summary(done),
        errors=tuple(errors),
    )


def _report_path(said: str, requests: Sequence[Request], call: Invocation) -> Path:
    """Where the report goes. One is written at once, that of nothing tried.

    So a file that cannot be written is known before anything is compiled, and one of an earlier run is not
    taken for ours if we are killed.
    """
    path = Path(os.path.realpath(call.host.expand(said)))  # a link stays one
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"--junit {said}: this is no ordinary file", fix="name a file such as junit.xml")
        if path.exists() and not path.read_bytes().lstrip().startswith(_REPORTS):
            raise UsageError(f"--junit {said}: this file is there, and no report", fix="name another file")
        write_whole(path, junit_xml([Verdict(one.reference, one.reference) for one in requests], 0.0))
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the name
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(
            f"--junit {said} cannot be written: {why}", fix="name a file in a folder that can be written"
        ) from None
    return path


def _describe(done: Precompiled, way: Way) -> dict[str, object]:
    """The answer as JSON data."""
    counts = Counter(one.outcome for one in done.verdicts)
    totals: dict[str, int] = {outcome: counts[outcome] for outcome in OUTCOMES}
    return {
        "profiles": [_describe_verdict(one) for one in done.verdicts],
        "totals": {"profiles": len(done.verdicts), **totals},
        "jobs": way.jobs,
        "took_s": round(done.took_s, 3),
    }


def _describe_verdict(verdict: Verdict) -> dict[str, object]:
    described: dict[str, object] = {
        "profile": verdict.name,
        "reference": verdict.reference,
        "key": verdict.key,
        "outcome": verdict.outcome,
        "exit_code": None if verdict.exit_code is None else int(verdict.exit_code),
        "took_s": round(verdict.took_s, 3),
        "log": verdict.log,
        "path": verdict.path,
        "same_as": verdict.same_as,
        "error": verdict.troubles[0].as_data() if verdict.troubles else None,
        "findings": [finding.id for finding in verdict.findings],
    }
    if verdict.retries is not None:
        described["retries"] = verdict.retries
    return described


def _summary(done: Precompiled) -> str:
    """A table with a line for each profile, and how many ended how."""
    names = Counter(one.name for one in done.verdicts)
    rows: list[tuple[str, ...]] = [("profile", "outcome", "seconds", "key or error", "log")]
    for one in done.verdicts:
        name = one.name if names[one.name] == 1 else one.reference
        seconds = f"{one.took_s:.0f}" if one.took_s else ""
        what = (one.key or "") if one.good or not one.why else _short(one.why)
        if one.same_as is not None:
            what = f"{what}  (as {one.same_as})".lstrip()
        log = "" if one.good else one.log or ""
        rows.append((name, one.outcome.replace("-", " "), seconds, what, log))
    counts = Counter(one.outcome for one in done.verdicts)
    told = [f"{counts[outcome]} {outcome.replace('-', ' ')}" for outcome in OUTCOMES if counts[outcome]]
    lines = [
        columns(rows),
        "",
        f"{len(done.verdicts)} profile{'s' * (len(done.verdicts) != 1)}: {', '.join(told)}",
    ]
    if counts["compiled"] and not all(one.good for one in done.verdicts):
        lines.append("type the same command again to go on: what is compiled is a hit")
    return "\n".join(lines)


def _short(text: str) -> str:
    return text if len(text) <= _WIDEST_ERROR else text[: _WIDEST_ERROR - 1] + "…"
