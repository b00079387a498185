"""Explain: what a log, a code or an exit number means, and what to do about it.

A log is read line by line. The words of a line lead to the few patterns that could fit it, so that a long
log costs little; memory does not grow with the log.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache

from neuronctl.errors import Exit
from neuronctl.explain.compiler_code import compiler_codes
from neuronctl.explain.error_code import ErrorCode, error_codes
from neuronctl.explain.known_issue import KnownIssue, known_issues
from neuronctl.explain.line import LONGEST_BYTES, clean_line, hide_secrets, near_mark, quote_line
from neuronctl.explain.pattern import Pattern, Rank, patterns
from neuronctl.explain.runtime_status import RuntimeStatus, status_table, statuses

# More different things than this in one log are noise, and each costs memory.
MOST_EXPLANATIONS = 100

_ORDER: dict[Rank, int] = {"cause": 0, "general": 1, "warning": 2}
_NOT_KNOWN = "Not known."
_SEARCH = "Read the rest of the line; search the issues of aws-neuron/aws-neuron-sdk for the code."
_LOOK_ABOVE = "Not known. Read the first lines with ERROR around it."
_WORD = re.compile(r"\w+")
_COMPILER_CODE = re.compile(r"\bNCC_[A-Z]{4}\d{3}\b")
_STATUS = re.compile(
    r"(?:\bnrt_\w+(?:\(\))?:? status=|\bNRT status |Failed to load NN: .{1,500}?, err: |completed with err: )"
    r"(\d+)"
)
_STATUS_WORDS = frozenset({"status", "err"})


@dataclass(frozen=True)
class Explanation:
    """One thing that was recognised.

    `line` quotes the first line that shows it, without secrets; `line_number` counts from 1; `count` is the
    number of such lines. `also` are known issues that show the same.
    """

    id: str
    issue: str | None
    kind: str
    rank: Rank
    title: str
    why: str
    fix: str
    source: str
    basis: str
    line: str | None = None
    line_number: int | None = None
    count: int = 1
    also: tuple[str, ...] = ()


# What the commonest exit number says: too little to explain the end of a process (explain_exit).
_FAILED = Explanation(
    id="exit-1",
    issue=None,
    kind="runtime",
    rank="general",
    title="The program ended with 1, which names no cause",
    why="Python ends with 1 for any exception that nobody caught, and so do vLLM and most programs.",
    fix="Read the last Traceback and the first lines with ERROR, or explain the whole log.",
    source="docs.python.org: sys.exit",
    basis="documented",
)


def explain_log(lines: Iterable[str]) -> tuple[Explanation, ...]:
    """What the lines of a log show, each thing once: causes first, among them the earliest."""
    names = {name for name in statuses() if not name.isdigit()}
    words_of_interest = _index().keys() | names | _STATUS_WORDS
    found: dict[str, Explanation] = {}
    counts: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        words = _WORD.findall(line)
        if words_of_interest.isdisjoint(words) and "NCC_" not in line and "\x1b" not in line:
            continue
        text = clean_line(line[:LONGEST_BYTES])
        told = _explain_line(text, _WORD.findall(text) if "\x1b" in line else words)
        if told is None:
            continue
        name, explain = told
        if name not in found and len(found) < MOST_EXPLANATIONS:
            found[name] = replace(explain(), line_number=number)
        if name in found:
            counts[name] = counts.get(name, 0) + 1
    counted = [replace(one, count=counts[name]) for name, one in found.items()]
    return tuple(sorted(counted, key=lambda one: _ORDER[one.rank]))  # in each rank as they came


def explain_tail(lines: Iterable[str], exit_code: int | None) -> Explanation | None:
    """The one thing that best explains why a process ended; None where nothing does.

    `exit_code` is as a shell or as Python tells it (137 or -9). A warning explains no end.
    """
    found = explain_log(lines)
    of_log = [one for one in found if one.rank != "warning"]
    if of_log and of_log[0].rank == "cause":
        return of_log[0]
    of_exit = explain_exit(exit_code) if exit_code is not None else None
    if of_exit is not None and exit_code is not None and (exit_code < 0 or exit_code > 128):
        return of_exit
    return of_log[0] if of_log else of_exit


def explain_exit(exit_code: int) -> Explanation | None:
    """What an exit number of the compiler or of vLLM means, if it means something by itself."""
    for pattern in patterns():
        if exit_code in pattern.exits:
            return _of_pattern(pattern, {"exit": str(exit_code)})
    return None


def explain_code(code: str) -> tuple[Explanation, ...]:
    """What a code means: NCC_EARG001 or EARG001, F137, NRT_RESOURCE, a number, an id; () if unknown.

    A number is an exit number, and a status of the runtime. An id is that of a known issue, a pattern, or an
    error of neuronctl.
    """
    said = code.strip().strip("[]")
    found: list[Explanation] = []
    lowered, upper = said.lower(), said.upper()
    by_id = [pattern for pattern in patterns() if pattern.id == lowered]
    if issue := known_issues().get(lowered):
        found.append(_of_issue(issue))
    elif by_id:
        found.append(_of_pattern(by_id[0], {}))
    if re.fullmatch(r"-?\d{1,6}", said) and (of_exit := explain_exit(int(said))):
        found.append(of_exit)
    elif said == "1":
        found.append(_FAILED)
    for name in (upper, f"NCC_{upper}"):
        if name in compiler_codes():
            found.append(_of_compiler_code(name))
        found += [_of_pattern(pattern, {}) for pattern in patterns() if name in pattern.codes]
    for name in (said, upper, f"NRT_{upper}"):
        if status := statuses().get(name):
            found.append(_of_status(status))
            break
    if not found and _COMPILER_CODE.fullmatch(upper):
        found.append(_of_compiler_code(upper))
    if error := error_codes().get(lowered):
        found.append(_of_error(error))
    return tuple({one.id: one for one in found}.values())


def known_codes() -> dict[str, str]:
    """Everything that `explain_code` knows by name, with a line about it."""
    found = {issue.id: issue.sees for issue in known_issues().values()}
    found |= {pattern.id: _filled(pattern.title, {}) for pattern in patterns() if pattern.id not in found}
    found |= {code.code: code.means for code in compiler_codes().values()}
    for pattern in patterns():
        for code in pattern.codes:
            found.setdefault(code, _filled(pattern.title, {}))
        for number in pattern.exits:
            found[str(number)] = _filled(pattern.title, {"exit": str(number)})
    found |= {status.name: status.means for status in status_table().statuses}
    return found | {error.code: _plain(error.means) for error in error_codes().values()}


_Told = tuple[str, Callable[[], Explanation]]


def _explain_line(text: str, words: list[str]) -> _Told | None:
    """What one line shows, with the function that says it in full: causes, codes, then what is general."""
    index = _index()
    near = sorted({place for word in words if word in index for place in index[word]})
    general: _Told | None = None
    for place in near:
        pattern = patterns()[place]
        if general is not None and pattern.rank != "cause":
            continue
        groups = pattern.match(text)
        if groups is None:
            continue
        told = pattern.id, lambda p=pattern, g=groups: _of_pattern(p, g, text)
        if pattern.rank == "cause":
            return told
        general = told
    return _explain_codes(text, words, known_otherwise=general is not None) or general


def _explain_codes(text: str, words: list[str], *, known_otherwise: bool) -> _Told | None:
    """The first code of the compiler or status of the runtime in a line."""
    if "NCC_" in text:
        for code in _COMPILER_CODE.findall(text):
            if code in compiler_codes() or not known_otherwise:
                return code, lambda c=code: replace(_of_compiler_code(c), line=quote_line(text, (c,)))
    named = [word for word in words if not word.isdigit() and word in statuses()]
    if not named and not _STATUS_WORDS.isdisjoint(words):
        near = near_mark(text, ("status", "err: "))
        named = [number for number in _STATUS.findall(near) if number in statuses()]
    if not named:
        return None
    status = statuses()[named[0]]
    return status.name, lambda: replace(_of_status(status), line=quote_line(text, (named[0],)))


@cache
def _index() -> dict[str, tuple[int, ...]]:
    """The places of the patterns that a word could lead to: of each mark its longest word."""
    places: dict[str, set[int]] = {}
    for place, pattern in enumerate(patterns()):
        for mark in pattern.marks:
            places.setdefault(max(_WORD.findall(mark), key=len), set()).add(place)
    return {word: tuple(sorted(found)) for word, found in places.items()}


def _of_pattern(pattern: Pattern, groups: dict[str, str], text: str | None = None) -> Explanation:
    issue = known_issues()[pattern.issue] if pattern.issue else None
    return Explanation(
        id=pattern.id,
        issue=pattern.issue,
        kind=pattern.kind,
        rank=pattern.rank,
        title=_filled(pattern.title, groups),
        why=_filled(pattern.why or (issue.why if issue else _NOT_KNOWN), groups),
        fix=_filled(pattern.fix or (issue.fix if issue else _NOT_KNOWN), groups),
        source="; ".join(pattern.source or (issue.source if issue else ())),
        basis=pattern.basis or (issue.basis if issue else _NOT_KNOWN),
        line=None if text is None else quote_line(text, pattern.marks),
        also=pattern.also,
    )


def _of_issue(issue: KnownIssue) -> Explanation:
    return Explanation(
        id=issue.id,
        issue=issue.id,
        kind=issue.area,
        rank="cause",
        title=issue.sees,
        why=f"{issue.why} Affected: {issue.affects}.",
        fix=issue.fix,
        source="; ".join(issue.source),
        basis=issue.basis,
    )


def _of_compiler_code(code: str) -> Explanation:
    documented = compiler_codes().get(code)
    why, fix, source = (
        "AWS has no page for this code.",
        _SEARCH,
        "sdk:compiler/error-codes/index.rst (not in it)",
    )
    if documented:
        why, fix, source = documented.means, documented.fix, documented.source
    return Explanation(
        id=code,
        issue=None,
        kind="compile",
        rank="cause",
        title=f"The compiler ended with {code}",
        why=why,
        fix=fix,
        source=source,
        basis="documented" if documented else "none",
    )


def _of_status(status: RuntimeStatus) -> Explanation:
    return Explanation(
        id=status.name,
        issue=status.issue,
        kind="runtime",
        rank="cause" if status.fix else "general",
        title=f"The Neuron runtime answered {status.name} ({status.value})",
        why=status.means,
        fix=status.fix or _LOOK_ABOVE,
        source="; ".join(status_table().source),
        basis=status_table().basis,
    )


def _of_error(error: ErrorCode) -> Explanation:
    exits = " or ".join(f"{number} ({Exit(number).name.lower().replace('_', '-')})" for number in error.exits)
    return Explanation(
        id=error.code,
        issue=None,
        kind="error",
        rank="cause" if exits else "warning",
        title=_plain(error.means),
        why=f"An error of neuronctl: the command ends with exit number {exits}."
        if exits
        else "A warning of neuronctl: the command goes on.",
        fix=_plain(error.fix),
        source="neuronctl",
        basis="neuronctl's own code",
    )


def _plain(words: str) -> str:
    """Words of a page of the docs as a terminal shows them."""
    return words.replace("`", "")


def _filled(words: str, groups: dict[str, str]) -> str:
    """`words` with each {name} replaced by what the line had there, or by … where it had nothing."""
    return re.sub(r"\{([a-z]+)\}", lambda found: hide_secrets(groups.get(found[1], "…"))[:200], words)
