"""Data: the package's YAML files about errors, as typed values."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
_FOLDER = Path(__file__).parent


def read_data(name: str, kind: type[T]) -> T:
    """The content of `name`.yaml beside this module, as a `kind`. An unknown or missing key is our bug."""
    import msgspec
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    content = yaml.load((_FOLDER / f"{name}.yaml").read_text(encoding="utf-8"), Loader=loader)
    return msgspec.convert(content, kind)
