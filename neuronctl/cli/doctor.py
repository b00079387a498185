"""`neuronctl doctor`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

from neuronctl.cli.invocation import Invocation
from neuronctl.cli.render import envelope, finding_text, fitted, paint
from neuronctl.cli.table import columns
from neuronctl.doctor.all import CHECKS
from neuronctl.doctor.check import Check, Outcome
from neuronctl.doctor.diagnosis import Diagnosis, diagnose
from neuronctl.doctor.facts import Facts
from neuronctl.errors import MachineUnfit, UsageError
from neuronctl.profile.suggest import nearest_word
from neuronctl.result import Message, Progress, Result
from neuronctl.time_limit import within

if TYPE_CHECKING:
    from neuronctl.doctor.mend import Mended
    from neuronctl.pipeline import Request

# Which machine, with which software, and what there is room for: told where they are well, too.
_FIRST = frozenset(
    {
        "instance",
        "driver",
        "cores in use",
        "serving Python",
        "packages",
        "memory",
        "disks",
        "store",
        "profile",
        "artifact",
    }
)
# Ten logs, a hundred manifests, and neuron-ls once more.
_BUNDLE_S = 60.0
# What takes no longer is not told of.
_QUIET_S = 0.5
_MARKS = {
    "ok": ("✓", "green"),
    "info": ("✓", "green"),
    "warning": ("!", "yellow"),
    "error": ("✗", "red"),
    "not-here": ("-", "dim"),
    "cannot-tell": ("?", "yellow"),
}


def doctor(
    call: Invocation,
    request: Request | None,
    python: str | None,
    *,
    only: Sequence[str],
    list_all: bool,
    offline: bool,
    strict: bool,
    show_all: bool,
    fix: bool,
    yes: bool,
    bundle: str | None,
    is_watch: bool,
    watch_every_s: float | None,
) -> Result | None:
    """Run the checks and say what is wrong; or list them, mend, write a bundle, or watch."""
    if list_all:
        return list_checks()
    if is_watch:
        _watch(call, watch_every_s)
        return None
    if bundle is not None:
        from neuronctl.doctor.archive import check_archive

        check_archive(call.host.cwd / bundle)  # before anything takes time
    facts = _facts(call, request, python, offline=offline)
    diagnosis = run_doctor(call, facts, only=only, offline=offline)
    mended: tuple[Mended, ...] = ()
    if fix and diagnosis.remedies:
        mended = _mend(diagnosis, call, yes=yes)
        if any(one.done for one in mended):
            facts = _facts(call, request, python, offline=offline)
            diagnosis = run_doctor(call, facts, only=only, offline=offline)
    data = describe(diagnosis)
    if fix:
        data["mended"] = [
            {"finding": one.remedy.finding, "title": one.remedy.title, "done": one.done, "says": one.says}
            for one in mended
        ]
        if not mended:
            call.tell(Message("there is nothing that neuronctl can mend by itself"))
    if bundle is not None:
        data["bundle"] = _write_bundle(call, facts, diagnosis, data, bundle, strict=strict)
    return Result(
        "doctor",
        data,
        exit_code=diagnosis.exit_code(strict=strict),
        findings=diagnosis.findings,
        text=None
        if call.as_json
        else diagnosis_text(diagnosis, sys.stdout, show_all=show_all, offers_fix=not fix),
    )


# What a list and a live table have a use for; and flags that do nothing without another one.
_BESIDE = {"--list": (), "--watch": ("--interval",)}
_WITHOUT = {"--yes": "--fix", "--interval": "--watch"}


def refuse_odd_pairs(given: Mapping[str, bool]) -> None:
    """Raise UsageError for flags of which one would silently do nothing; `given` says which were typed."""
    for mode, beside in _BESIDE.items():
        for flag, is_given in given.items():
            if given[mode] and is_given and flag not in (mode, *beside):
                raise _odd_pair(f"{mode} with {flag}")
    for flag, needs in _WITHOUT.items():
        if given[flag] and not given[needs]:
            raise _odd_pair(f"{flag} without {needs}")


def _odd_pair(words: str) -> UsageError:
    return UsageError(f"{words} does nothing", fix="leave one of them out", code="usage.odd-pair")


def _watch(call: Invocation, every_s: float | None) -> None:
    """Show the live table until ^C, or until nobody reads any more."""
    from neuronctl.cli.watch import show_snapshots
    from neuronctl.doctor.watch import INTERVAL_S, watch

    snapshots = watch(call.host, interval_s=INTERVAL_S if every_s is None else every_s)
    with suppress(BrokenPipeError):  # as `| head -1`
        show_snapshots(snapshots, sys.stdout, environ=call.host.environ, as_json=call.as_json)
    call.is_answered = True  # ^C is how it ends


def _write_bundle(
    call: Invocation,
    facts: Facts,
    diagnosis: Diagnosis,
    data: Mapping[str, object],
    bundle: str,
    *,
    strict: bool,
) -> dict[str, object]:
    """Write all of it to a file, and say where it is."""
    from neuronctl.doctor.archive import write_archive
    from neuronctl.doctor.bundle import gather_bundle

    answer = envelope(
        "doctor", diagnosis.exit_code(strict=strict), data=data, findings=diagnosis.findings, errors=[]
    )
    path = call.host.cwd / bundle
    try:
        members = within(_BUNDLE_S, lambda: gather_bundle(answer, facts.host, stack=facts.usable_stack))
    except TimeoutError as late:
        raise MachineUnfit(
            f"{path} was not written: gathering it {late}",
            fix="see what hangs: neuronctl doctor --all",
            code="bundle.not-written",
        ) from None
    # Not in a thread of its own, which a ^C would leave behind in the middle of it.
    write_archive(path, members, now=call.host.now())
    call.tell(
        Message(
            f"{path}: {len(members)} files, secrets hidden; logs may hold what users asked: look before you "
            "send it",
            "done",
        )
    )
    return {"path": str(path), "files": list(members)}


def _mend(diagnosis: Diagnosis, call: Invocation, *, yes: bool) -> tuple[Mended, ...]:
    """Carry out what the user agrees to, and tell how it went. Raises UsageError where nobody can agree."""
    from neuronctl.doctor.mend import mend

    if not yes and not sys.stdin.isatty():
        raise UsageError(
            "--fix asks before each step, and there is nobody to ask: stdin is no terminal",
            fix="neuronctl doctor --fix --yes",
            code="usage.nobody-to-ask",
        )

    def ask(question: str) -> bool:
        if yes:
            call.tell(Message(question, "step"))
            return True
        call.tell(Message(f"{question}\n[y/N]", "step"))
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    mended = mend(diagnosis.remedies, call.host, ask)
    for one in mended:
        call.tell(Message(f"{one.remedy.title}: {one.says}", "done" if one.done else "warn"))
    return mended


def _facts(call: Invocation, request: Request | None, python: str | None, *, offline: bool) -> Facts:
    return Facts(call.host, request=request, python=python, offline=offline)


def run_doctor(call: Invocation, facts: Facts, *, only: Sequence[str], offline: bool) -> Diagnosis:
    """The diagnosis of this machine, told while it is made."""
    host = call.host
    checks = [one for one in chosen(only) if not (offline and one.asks == "network")]
    if not checks:
        raise UsageError(
            f"--offline leaves out {', '.join(only)}, and nothing is left to look at",
            fix="leave --offline out",
            code="usage.odd-pair",
        )
    if facts.request is None and (idle := [one.option for one in checks if one.needs_profile and only]):
        raise UsageError(
            f"--check {idle[0]} looks at a profile, and none is named",
            fix=f"neuronctl doctor --check {idle[0]} --profile NAME",
            code="usage.odd-pair",
        )
    waiting = {one.name for one in checks}
    begun = host.monotonic()

    def ended(outcome: Outcome) -> None:
        waiting.discard(outcome.check.name)
        names = ", ".join(one.name for one in checks if one.name in waiting)
        took_s = host.monotonic() - begun
        if took_s > _QUIET_S:
            call.tell(Progress("looking", took_s, names))

    return diagnose(checks, facts, is_whole=not only, on_end=ended)


def chosen(only: Sequence[str]) -> tuple[Check, ...]:
    """The checks of these names, all where none is named. Raises UsageError for a name that is none."""
    by_name = {one.option: one for one in CHECKS}
    wanted = [name.strip().lower().replace(" ", "-") for name in only]
    for name in wanted:
        if name not in by_name:
            near = nearest_word(name, list(by_name))
            raise UsageError(
                f"no check is called {name[:60]!r}" + (f"; did you mean {near}?" if near else ""),
                fix=f"--check {near}" if near else "neuronctl doctor --list",
                code="usage.unknown-check",
            )
    return tuple(one for name, one in by_name.items() if not wanted or name in wanted)


def list_checks() -> Result:
    """The names of all checks."""
    rows = [[one.option, one.title] for one in CHECKS]
    data: dict[str, object] = {
        "checks": [
            {"name": name, "title": title, "asks": one.asks, "timeout_s": one.timeout_s}
            for (name, title), one in zip(rows, CHECKS, strict=True)
        ]
    }
    return Result("doctor", data, text=columns(rows))


def describe(diagnosis: Diagnosis) -> dict[str, object]:
    """The diagnosis as JSON data."""
    return {
        "verdict": diagnosis.verdict,
        "can_serve": diagnosis.can_serve,
        "backend": diagnosis.backend,
        "profile": diagnosis.profile,
        "checks": [
            {
                "name": outcome.check.option,
                "title": outcome.check.title,
                "status": outcome.status,
                "says": outcome.says,
                "findings": [finding.id for finding in outcome.findings],
                "data": outcome.data,
                "took_s": round(outcome.took_s, 3),
            }
            for outcome in diagnosis.outcomes
        ],
        "follows": [
            {"id": hidden.id, "message": hidden.message, "from": cause.id}
            for hidden, cause in diagnosis.follows
        ],
        "remedies": [
            {"finding": one.finding, "title": one.title, "command": list(one.argv) if one.argv else None}
            for one in diagnosis.remedies
        ],
    }


def diagnosis_text(diagnosis: Diagnosis, stream: TextIO, *, show_all: bool, offers_fix: bool = True) -> str:
    """The verdict, what was found with what to type, and a line for each check.

    `offers_fix`: --fix is named, as it has not been tried just now.
    """
    mark, colour = "✓", "green"
    if diagnosis.errors:
        mark, colour = "✗", "red"
    elif diagnosis.not_known is not None:
        mark, colour = "?", "yellow"
    verdict = fitted(f"{mark} {diagnosis.verdict}", "  ", stream).removeprefix(mark)
    lines = [paint(mark, colour, stream) + paint(verdict, "bold", stream), ""]
    follows: dict[str, list[str]] = {}
    for hidden, cause in diagnosis.follows:
        follows.setdefault(cause.id, []).append(hidden.id)
    # The facts that a person looks for stand in the list of checks; --all tells the rest.
    told = [one for one in diagnosis.findings if show_all or one.severity != "info"]
    for finding in told:
        lines.append(finding_text(finding, stream).rstrip("\n"))
        if names := follows.get(finding.id):
            lines.append(fitted(f"  from it follow: {', '.join(dict.fromkeys(names))}", "    ", stream))
    if told:
        lines.append("")
    show_all = show_all or not diagnosis.is_whole
    lines += _check_lines(diagnosis.outcomes, stream, show_all=show_all)
    lines += _closing(diagnosis, stream, show_all=show_all, offers_fix=offers_fix)
    return "\n".join(lines)


def _check_lines(outcomes: Sequence[Outcome], stream: TextIO, *, show_all: bool) -> list[str]:
    shown = [one for one in outcomes if show_all or _is_told(one)]
    width = max((len(one.check.name) for one in shown), default=0)
    lines = []
    for one in shown:
        mark, colour = _MARKS[one.status]
        line = f"{mark} {one.check.name:{width}}  {one.says}"
        lines.append(paint(mark, colour, stream) + fitted(line, " " * (width + 4), stream).removeprefix(mark))
    return lines


def _is_told(outcome: Outcome) -> bool:
    """Whether a person wants this check's line: it is not well, or is what one looks for first."""
    if outcome.status in ("ok", "info"):
        return outcome.check.name in _FIRST
    return outcome.status != "not-here"


def _closing(diagnosis: Diagnosis, stream: TextIO, *, show_all: bool, offers_fix: bool) -> list[str]:
    lines = []
    well = sum(one.status in ("ok", "info") and not _is_told(one) for one in diagnosis.outcomes)
    not_here = sum(one.status == "not-here" for one in diagnosis.outcomes)
    infos = sum(one.severity == "info" for one in diagnosis.findings)
    if not show_all and (well or not_here or infos):
        parts = [f"{well} more {'is' if well == 1 else 'are'} well"] if well else []
        parts += [f"{not_here} {'does' if not_here == 1 else 'do'} not apply"] if not_here else []
        parts += [f"{infos} note{'' if infos == 1 else 's'}"] if infos else []
        lines.append(f"{', '.join(parts)}: neuronctl doctor --all")
    if diagnosis.remedies and offers_fix:
        count = len({one.finding for one in diagnosis.remedies})
        lines.append(f"neuronctl can mend {count} of it: neuronctl doctor --fix")
    return ["", *(fitted(line, "  ", stream) for line in lines)] if lines else []
