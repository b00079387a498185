"""`neuronctl explain`."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from neuronctl.cli.invocation import Invocation
from neuronctl.cli.table import columns
from neuronctl.doctor.all import CHECKS
from neuronctl.doctor.check import Check, Trouble
from neuronctl.doctor.place import join
from neuronctl.errors import Exit, UsageError
from neuronctl.explain.explain import Explanation, explain_code, explain_log, known_codes
from neuronctl.explain.known_issue import known_issues, source_prefixes
from neuronctl.explain.line import clean_line, read_lines
from neuronctl.explain.suspect import keep_suspects
from neuronctl.profile.suggest import nearest_word, nearest_words
from neuronctl.redaction.redaction import Redaction
from neuronctl.result import Result
from neuronctl.rules.all import RULES
from neuronctl.secret import secret_values

# So many are told in full; what a log shows beside them is most often what they led to.
TOLD_IN_FULL = 3
_LIST = "neuronctl explain --list"
# So many codes are offered in place of one that is not known, and so much alike these are.
_NEAR, _ALIKE = 3, 0.8


def explain_source(source: str | None, call: Invocation) -> Result:
    """Explain a log (a file, or `-` for stdin), a code, an id, or a message; exit 1 if nothing is known.

    Raises UsageError for what is neither a file nor a known code.
    """
    if source is None:
        raise UsageError("say what to explain: a log file, - for stdin, a code or an id", fix=_LIST)
    suspects: list[tuple[int, str]] = []
    if source == "-":
        found = explain_log(keep_suspects(read_lines(sys.stdin.buffer), suspects))
    elif (path := _file(source, call)) is not None:
        try:
            with path.open("rb") as stream:
                found = explain_log(keep_suspects(read_lines(stream), suspects))
        except OSError as error:
            raise UsageError(f"{source} cannot be read: {error.strerror}") from None
    else:
        found = (*explain_code(source), *_explain_rule(source), *_explain_trouble(source))
        if not found and len(source.split()) > 1:  # a line of a log, pasted
            found = explain_log(keep_suspects(source.splitlines(), suspects))
        elif not found:
            raise _unknown(source, call)
    redaction = Redaction(secret_values(call.host.environ))
    found = tuple(_masked(one, redaction) for one in found)
    suspects = [(number, redaction.known(text)) for number, text in suspects]
    data: dict[str, object] = {
        "source": source,
        "explanations": [asdict(one) for one in found],
        "error_lines": [{"line_number": number, "line": text} for number, text in suspects],
    }
    return Result(
        "explain",
        data,
        exit_code=Exit.DONE if found else Exit.ANSWER_IS_NO,
        text=_text(found) if found else _nothing_text(source, suspects),
    )


def list_known() -> Result:
    """Every code and id that can be explained."""
    known = _all_known()
    rows = [(code, _short(words)) for code, words in known.items()]
    return Result("explain", {"known": known, "sources": source_prefixes()}, text=columns(rows))


def _file(source: str, call: Invocation) -> Path | None:
    """The file that the user names, a pipe as well; None where there is none."""
    try:
        path = call.host.expand(source)
        return path if path.exists() and not path.is_dir() else None
    except (OSError, ValueError):  # too long for a name, or with a character that no name has
        return None


def _unknown(source: str, call: Invocation) -> UsageError:
    near = _near(source)
    with suppress(OSError, ValueError):
        if source and call.host.expand(source).is_dir():
            return UsageError(f"{source} is a folder", fix="name a log file in it")
    meant = f"; {join(near)} {'is' if len(near) == 1 else 'are'} known" if near else ""
    return UsageError(
        f"there is no file {_short(clean_line(source))}, and no code, status or issue of that name{meant}",
        fix=f"neuronctl explain {near[0]}" if near else _LIST,
    )


def _near(source: str) -> tuple[str, ...]:
    """What was most likely meant: a code whose part after the dot was given, else those that look alike."""
    known = list(_all_known())
    said = source.strip().lower()
    if ends := [each for each in known if said and each.partition(".")[2] == said]:
        return tuple(ends[:_NEAR])
    found = (
        *nearest_words(source, known, _NEAR, _ALIKE),
        *nearest_words(source.upper(), known, _NEAR, _ALIKE),
    )
    best = nearest_word(source, known)
    return tuple(dict.fromkeys(found))[:_NEAR] or ((best,) if best else ())


def _all_known() -> dict[str, str]:
    """Every code and id that can be explained, with what it means."""
    known = known_codes() | {rule.id: _about(rule.look.__doc__) for rule in RULES}
    return known | {trouble.id: trouble.what for trouble in _troubles()}


def _explain_rule(source: str) -> tuple[Explanation, ...]:
    """What a rule of neuronctl looks for, and the known issue that it catches before launch."""
    for rule in RULES:
        if rule.id != source.strip().lower():
            continue
        issues = [known_issues()[issue] for issue in rule.covers if issue in known_issues()]
        return (
            Explanation(
                id=rule.id,
                issue=issues[0].id if len(issues) == 1 else None,
                kind="rule",
                rank="cause" if rule.severity == "error" else "warning",
                title=_about(rule.look.__doc__),
                why=" ".join(issue.why for issue in issues)
                or "A rule of neuronctl, checked before anything runs.",
                fix=" ".join(issue.fix for issue in issues) or "The plan's finding says what to change.",
                source=rule.source,
                basis="a rule of neuronctl",
                also=tuple(issue.id for issue in issues),
            ),
        )
    return ()


def _explain_trouble(source: str) -> tuple[Explanation, ...]:
    """What a check of doctor found."""
    for trouble, check in _troubles().items():
        if trouble.id != source.strip().lower():
            continue
        return (
            Explanation(
                id=trouble.id,
                issue=None,
                kind="check",
                rank="cause" if trouble.severity == "error" else "warning",
                title=trouble.what,
                why=f"Found by a check of doctor: {check.subject}.",
                fix=f"neuronctl doctor --check {check.option}  (it says what to type on this machine)",
                source=trouble.source,
                basis="a check of neuronctl's doctor",
            ),
        )
    return ()


def _troubles() -> dict[Trouble, Check]:
    """What the checks of doctor may find, and which one does."""
    return {trouble: check for check in CHECKS for trouble in check.finds}


def _about(docstring: str | None) -> str:
    return " ".join((docstring or "").split("\n\n")[0].split())


def _masked(one: Explanation, redaction: Redaction) -> Explanation:
    line = None if one.line is None else redaction.known(one.line)
    return replace(one, title=redaction.known(one.title), line=line)


def _text(found: tuple[Explanation, ...]) -> str:
    parts = [_told(one) for one in found[:TOLD_IN_FULL]]
    if rest := found[TOLD_IN_FULL:]:
        rows = [
            (f"  {one.id}", f"line {one.line_number}" if one.line_number else "", one.title) for one in rest
        ]
        parts.append("seen as well\n" + columns(rows))
    return "\n\n".join(parts)


def _told(one: Explanation) -> str:
    lines = [f"{one.id}: {one.title}"]
    if one.line is not None:
        often = f", {one.count} times in all" if one.count > 1 else ""
        lines += [f"  line {one.line_number}{often}:", f"    {one.line}"]
    lines += [f"  why: {one.why}", f"  try: {one.fix}", f"  source: {one.source} ({one.basis})"]
    if one.also:
        lines.append(f"  see also: {', '.join(f'neuronctl explain {other}' for other in one.also)}")
    return "\n".join(lines)


def _nothing_text(source: str, suspects: list[tuple[int, str]]) -> str:
    lines = [f"nothing in {'stdin' if source == '-' else source} is known to neuronctl"]
    if suspects:
        lines += ["", "lines that look like errors, the first is most often the cause"]
        lines += [f"  {number}: {text}" for number, text in suspects]
    lines += [
        "",
        "where else to look",
        "  the compiler's own log: log-neuron-cc.txt in its work folder, for lines with NCC_ or F13",
        "    (NxD Inference: under BASE_COMPILE_WORK_DIR, else /tmp/nxd_model; native: beside command.txt)",
        "  the driver: sudo dmesg, for lines with neuron or NEURON_HW_ERR",
    ]
    return "\n".join(lines)


def _short(words: str) -> str:
    return words if len(words) <= 100 else f"{words[:99]}…"
