"""The package's own data: YAML files, each beside the module that reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def read_yaml(path: Path) -> Any:
    """The content of a YAML file, read by libyaml where it is there, which is several times as fast."""
    import yaml

    return yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
