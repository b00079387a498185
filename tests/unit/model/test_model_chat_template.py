"""Whether a tokenizer says how a conversation is written down, told from the files that it consists of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from neuronctl.model.chat_template import has_chat_template

SILENT = '{"bos_token": "<s>"}'


@pytest.mark.parametrize(
    ("files", "has"),
    [
        ({}, None),
        ({"tokenizer.json": "{}"}, None),
        ({"tokenizer_config.json": SILENT}, False),
        ({"tokenizer_config.json": '{"chat_template": null}'}, False),
        ({"tokenizer_config.json": '{"chat_template": ""}'}, False),
        ({"tokenizer_config.json": '{"chat_template": "{{ messages }}"}'}, True),
        (
            {
                "tokenizer_config.json": json.dumps(
                    {"chat_template": [{"name": "tool_use", "template": "{{ tools }}"}]}
                )
            },
            True,
        ),
        ({"tokenizer_config.json": SILENT, "chat_template.jinja": "{{ messages }}"}, True),
        ({"tokenizer_config.json": SILENT, "chat_template.json": '{"chat_template": "x"}'}, True),
        ({"tokenizer_config.json": SILENT, "additional_chat_templates/rag.jinja": "x"}, True),
        ({"tokenizer_config.json": SILENT, "additional_chat_templates/README.md": "x"}, False),
        ({"tekken.json": "{}"}, True),
        ({"tokenizer_config.json": SILENT, "tokenizer.model.v3": "x"}, True),
        ({"tokenizer_config.json": SILENT, "tokenizer.model": "x"}, False),
        ({"tokenizer_config.json": "{"}, None),
        ({"tokenizer_config.json": "[]"}, None),
        ({"tokenizer_config.json": "[" * 100_000}, None),
    ],
)
def test_whether_there_is_a_chat_template(tmp_path: Path, files: dict[str, str], has: bool | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert has_chat_template(tmp_path) is has


def test_a_folder_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    assert has_chat_template(tmp_path / "none") is None
