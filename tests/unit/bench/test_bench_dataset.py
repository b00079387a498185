"""The file of prompts as engines get it."""

from __future__ import annotations

from pathlib import Path

from neuronctl.bench.dataset import Dataset, read_dataset
from neuronctl.host import Host
from neuronctl.profile.schema import BenchSection


def dataset(folder: Path, output_len: int | tuple[int, ...] = ()) -> Dataset:
    said = BenchSection(dataset_name="jsonl", dataset_path="p.jsonl", output_len=output_len)
    found = read_dataset(said, Host(environ={}, cwd=folder), folder)
    assert found is not None
    return found


def test_other_lengths_of_answers_are_another_workload(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt": "Why?"}\n{"prompt": "How?", "max_tokens": 9}\n')
    found = [dataset(tmp_path, said) for said in ((), 8, (8,), 40)]
    assert [one.count for one in found] == [2, 2, 2, 2]
    first, second, third, fourth = (one.digest for one in found)
    assert len({first, second, fourth}) == 3 and second == third


def test_the_name_is_the_users(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt": "Why?"}\n')
    found = dataset(tmp_path)
    assert (found.name, found.path.name) == ("p.jsonl", "prompts.jsonl")


def test_a_line_ends_where_jsonl_says(tmp_path: Path) -> None:
    odd = '{"prompt": "one\u2028two\x85three"}\r\n{"prompt": "How?"}\n'
    (tmp_path / "p.jsonl").write_bytes(odd.encode())
    assert dataset(tmp_path).count == 2
