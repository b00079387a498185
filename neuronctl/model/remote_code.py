"""Remote code: whether a model needs Python files of its own, told without running or importing anything."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any


def remote_code(config: Mapping[str, Any], site_packages: Iterable[Path]) -> str | None:
    """The code that `config.json` names and nothing installed makes needless; None where there is none.

    transformers lists the model types that it has in `models/auto/*.py`, vLLM those for which it has a
    configuration of its own in `transformers_utils/config.py`. None too where transformers is not found: then
    nobody can tell.
    """
    named = config.get("auto_map")
    model_type = config.get("model_type")
    code = named.get("AutoConfig") if isinstance(named, Mapping) else None
    if not isinstance(code, str) or not isinstance(model_type, str):
        return None
    lists = [
        file
        for folder in site_packages
        for pattern in ("transformers/models/auto/*.py", "vllm/transformers_utils/config.py")
        for file in sorted(folder.glob(pattern))
    ]
    if not any(file.parent.name == "auto" for file in lists):
        return None
    is_known = re.compile(rf"""["']{re.escape(model_type)}["']|^\s+{re.escape(model_type)}=""", re.MULTILINE)
    for file in lists:
        with suppress(OSError, UnicodeDecodeError):
            if is_known.search(file.read_text(encoding="utf-8")):
                return None
    return code
