"""`neuronctl bench advise` as it is typed: on any machine, with and without the profile."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from neuronctl.bench.result_file import write_result
from tests.process.reference import Bencher
from tests.unit.bench.test_bench_advice import curve

STACK = ("--stack", "sdk-2.28")


@pytest.fixture
def bencher(tmp_path: Path) -> Bencher:
    """Somebody with a result of the shipped profile tinyllama-tp2, whose throughput still grows."""
    made = curve({1: 100, 2: 195, 4: 380, 8: 400})
    target = replace(made.target, batch=4, max_model_len=2048, instance="inf2.xlarge")
    write_result(tmp_path / "a.json", replace(made, target=target))
    return Bencher(tmp_path)


def test_a_larger_batch_is_proposed(bencher: Bencher) -> None:
    said = bencher.run("advise", "a.json")
    assert said.code == 0, said.err
    assert "max_num_seqs: 8" in said.out and "--profile NAME" in said.out


def test_the_profile_s_plan_says_what_fits(bencher: Bencher) -> None:
    said = bencher.run("advise", "a.json", "--profile", "tinyllama-tp2", *STACK, "--json")
    assert said.code == 0, said.err
    (one,) = said.envelope["data"]["advice"]
    assert "by the plan's estimate 8 fit" in one["cost"]


def test_a_profile_of_another_shape_is_refused(bencher: Bencher) -> None:
    named = ("--profile", "tinyllama-tp2", "--set", "engine.max_num_seqs=2")
    said = bencher.run("advise", "a.json", *named, *STACK)
    assert said.code == 2
    assert "a batch of 2" in said.err and "a batch of 4" in said.err
