"""Chat template: whether a tokenizer says how a conversation is written down."""

from __future__ import annotations

import json
from pathlib import Path

from neuronctl.model.plain_file import read_plain

# Where transformers keeps one (tokenization_utils_base.py, processing_utils.py): files of their own, else a
# key of tokenizer_config.json. Mistral's tokenizers have theirs in code.
_FILES = ("chat_template.jinja", "chat_template.json")
_IN_CODE = ("tekken.json", "tokenizer.model.v3", "tokenizer.model.v7")


def has_chat_template(folder: Path) -> bool | None:
    """Whether the model in `folder` has a chat template; None where its tokenizer is not there to say."""
    if any((folder / name).exists() for name in (*_FILES, *_IN_CODE)) or any(
        folder.glob("additional_chat_templates/*.jinja")
    ):
        return True
    try:
        said = json.loads(read_plain(folder / "tokenizer_config.json"))
    except (OSError, ValueError, RecursionError):
        return None
    return bool(said.get("chat_template")) if isinstance(said, dict) else None
