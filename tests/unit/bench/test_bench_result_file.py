from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from neuronctl.bench.result_file import read_result, result_text, write_result
from neuronctl.bench.schema import Remark
from neuronctl.errors import MachineUnfit, UsageError
from tests.bench_sample import result


def refused(path: Path, content: bytes | str) -> UsageError:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError) as caught:
        read_result(path)
    return caught.value


def test_a_result_comes_back_as_it_was_written(tmp_path: Path) -> None:
    made = replace(
        result(failing=2),
        status="partial",
        why_partial="stopped by ^C",
        remarks=(Remark(id="x", severity="info", text="“quoted” \\ and\nbroken"),),
    )
    path = tmp_path / "new" / "folder" / "a.json"
    write_result(path, made)
    assert read_result(path) == made


def test_a_run_takes_less_than_4_kb() -> None:
    one = len(result_text(result(repeats=1)).encode())
    three = len(result_text(result(repeats=3)).encode())
    assert (three - one) / 6 < 4096


def test_the_text_is_good_for_a_diff() -> None:
    text = result_text(result())
    assert text == result_text(result())
    assert json.loads(text)["target"]["input_buckets"] == [128, 512, 2048]
    before, after = (
        text.splitlines(),
        result_text(replace(result(), took_s=99.0)).splitlines(),
    )
    assert len(before) == len(after)
    assert [new for old, new in zip(before, after, strict=True) if old != new] == ['  "took_s": 99.0,']
    # A list of numbers is one line, however long.
    assert len([line for line in text.splitlines() if '"grid"' in line]) == 9 * 4
    assert all(line.rstrip(",").endswith("]") for line in text.splitlines() if '"grid"' in line)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('{\n "schema": 1,\n "b" 2}', 3),
        ('{\n "schema": 1,\n', 2),
        ("", 1),
        ("[\n NaN]", 2),
        (b'{"a": "\xff"}', None),
        ("[" * 100_000, None),
    ],
)
def test_what_is_no_json_is_told_with_its_line(
    tmp_path: Path, content: bytes | str, line: int | None
) -> None:
    error = refused(tmp_path / "a.json", content)
    assert error.error_code == "bench.no-result"
    assert "a.json" in str(error)
    assert (error.place.line if error.place else None) == line


@pytest.mark.parametrize("content", ["[]", "3", "{}", '{"schema": 1}', '{"schema": "neuronctl.plan/1"}'])
def test_what_is_no_result_is_told(tmp_path: Path, content: str) -> None:
    assert "is not a result of bench" in refused(tmp_path / "a.json", content).what


def test_a_newer_result_is_told(tmp_path: Path) -> None:
    text = result_text(result())
    error = refused(tmp_path / "a.json", text.replace("neuronctl.bench/1", "neuronctl.bench/2"))
    assert "newer neuronctl (neuronctl.bench/2; this one reads neuronctl.bench/1)" in error.what
    assert error.fix is not None
    assert "update neuronctl" in error.fix
    other = refused(tmp_path / "a.json", text.replace("neuronctl.bench/1", "neuronctl.bench/x"))
    assert "neuronctl does not know" in other.what


@pytest.mark.parametrize(
    ("old", "new", "key", "what"),
    [
        ('"requests": 8,\n        "edge"', '"reqests": 8,\n        "edge"', "points[0].load", "`reqests`"),
        ('"requests": 8,\n        "edge"', '"edge"', "points[0].load", "`requests`"),
        ('"p99"', '"p98"', "points[0].runs[0].ttft_s", "unknown key `p98`"),
        ("0.7582", '"cheap"', "price.usd_per_hour", "Expected `float`"),
        ('"tinyllama-tp2",\n  "status"', '"x",\n  "statsu"', None, "did you mean `status`?"),
    ],
)
def test_a_wrong_key_is_told_with_its_path(
    tmp_path: Path, old: str, new: str, key: str | None, what: str
) -> None:
    text = result_text(result())
    assert old in text
    error = refused(tmp_path / "a.json", text.replace(old, new, 1))
    assert what in error.what
    assert (error.place.key if error.place else None) == key


def test_an_unknown_key_has_a_suggestion_from_its_own_part(tmp_path: Path) -> None:
    text = result_text(result()).replace('"prefix_tokens"', '"prefix_token"')
    assert "did you mean `prefix_tokens`?" in refused(tmp_path / "a.json", text).what


def test_a_file_that_is_not_there_or_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(UsageError) as caught:
            read_result(path)
        assert f"{path} cannot be read" in caught.value.what
        assert caught.value.error_code == "bench.no-result"


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineUnfit) as caught:
        write_result(tmp_path / "file" / "a.json", result())
    assert caught.value.error_code == "bench.not-written"
