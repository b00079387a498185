"""Phases, marks and error lines are found in a log however it is cut into blocks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from neuronctl.backends.phases import Mark, Phase
from neuronctl.serving.logwatch import ERROR_LINES, LAST_LINES, LogWatch

PHASES = (
    Phase("load", r"Starting to load model", "loading"),
    Phase("compile", r"^\(Engine.*Warming up model", "compiling"),
    Phase("listen", r"Starting vLLM server on http\S+$", "loading"),
)
LINES = [
    b"(EngineCore pid=7) INFO Starting to load model /m...",
    b"noise",
    b"(EngineCore pid=7) INFO Warming up model for the compilation...",
    b"cache hit",
    b"(APIServer pid=1) INFO Starting vLLM server on http://127.0.0.1:8000",
]


def watching(seen: list[str]) -> LogWatch:
    return LogWatch(PHASES, (Mark("hit", "cache hit"),), lambda phase: seen.append(phase.name), lambda: 5.0)


@given(st.lists(st.integers(1, 4), max_size=4))
def test_phases_come_once_and_in_order_for_any_blocks(cuts: list[int]) -> None:
    seen: list[str] = []
    watch = watching(seen)
    begin = 0
    for end in [*sorted(set(cuts)), len(LINES)]:
        watch.feed(b"".join(line + b"\n" for line in LINES[begin:end]))
        begin = end
    watch.feed(b"\n".join(LINES) + b"\n")  # a second time means nothing
    assert seen == ["load", "compile", "listen"]
    assert watch.marks == {"hit"}
    assert watch.output_at == 5.0


def test_a_pattern_that_is_anchored_does_not_match_inside_a_line() -> None:
    seen: list[str] = []
    watching(seen).feed(b"he said (EngineCore) Warming up model\n")
    assert seen == []


def test_last_lines_are_limited_and_fit_for_a_terminal() -> None:
    watch = watching([])
    watch.feed(b"".join(b"line %d\n" % n for n in range(1000)))
    assert len(watch.last) == LAST_LINES
    assert watch.last_line == "line 999"
    watch.feed(b"\x1b[31mred\x1b[0m\x07 \xff\r\n 10%\r 20%\r\n\n")
    assert list(watch.last)[-3:] == ["red \ufffd", " 10%", " 20%"]
    watch.feed(b"x" * 100_000 + b"\n")
    assert 0 < len(watch.last_line) <= 1000


def test_the_first_error_lines_are_kept_once_each() -> None:
    watch = watching([])
    watch.feed(b"ERROR trace\nValueError: no memory\n" * 3 + b"RuntimeError: it failed\n")
    assert watch.errors == ["ValueError: no memory", "RuntimeError: it failed"]
    for n in range(100):
        watch.feed(b"OSError: %d\n" % n)
    assert len(watch.errors) == ERROR_LINES
    assert watch.errors[0] == "ValueError: no memory"


@given(st.lists(st.binary(max_size=200), max_size=10))
def test_no_bytes_are_too_strange(blocks: list[bytes]) -> None:
    watch = watching([])
    for block in blocks:
        watch.feed(block)
    assert all(line.isprintable() for line in [*watch.last, *watch.errors])


def test_where_a_traceback_begins_is_no_line_to_show() -> None:
    watch = watching([])
    watch.feed(b"compiling\nTraceback of TorchScript, serialized code (most recent call last):\n")
    watch.feed(b"(EngineCore pid=7) ERROR Traceback (most recent call last):\n")
    assert watch.last_line == "compiling"
