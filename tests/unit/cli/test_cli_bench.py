from __future__ import annotations

import pytest

from neuronctl.cli.bench import result_name


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("llama-3.1-8b", "llama-3.1-8b"),
        ("profiles/llama-3.1-8b.yaml", "llama-3.1-8b"),
        ("/srv/own.v2.yml", "own.v2"),
    ],
)
def test_the_file_of_a_result_has_the_whole_name_of_its_profile(reference: str, name: str) -> None:
    assert result_name(reference) == name
