"""Whether code of the model's own is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuronctl.model.remote_code import remote_code

OWN = {"auto_map": {"AutoConfig": "configuration_x.XConfig"}, "model_type": "x_one"}


@pytest.mark.parametrize(
    ("lists", "needed"),
    [
        ({"transformers/models/auto/configuration_auto.py": '("llama", "LlamaConfig"),'}, True),
        ({"transformers/models/auto/configuration_auto.py": '("x_one", "XConfig"),'}, False),
        ({"transformers/models/auto/auto_mappings.py": "'x_one': 'XConfig',"}, False),
        (
            {
                "transformers/models/auto/configuration_auto.py": "",
                "vllm/transformers_utils/config.py": 'd = LazyConfigDict(\n    x_one="XConfig",\n)',
            },
            False,
        ),
        (
            {
                "transformers/models/auto/configuration_auto.py": "",
                "vllm/transformers_utils/config.py": 'd = LazyConfigDict(\n    x_one_more="XConfig",\n)',
            },
            True,
        ),
        ({"vllm/transformers_utils/config.py": ""}, False),
        ({}, False),
    ],
)
def test_whether_code_of_the_model_s_own_is_needed(
    tmp_path: Path, lists: dict[str, str], needed: bool
) -> None:
    for name, text in lists.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert remote_code(OWN, [tmp_path]) == ("configuration_x.XConfig" if needed else None)
    assert remote_code({"model_type": "x_one"}, [tmp_path]) is None
