"""Data: the package's YAML files about errors, as typed values."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from neuronctl.typed import convert
from neuronctl.yaml_data import read_yaml

T = TypeVar("T")
_FOLDER = Path(__file__).parent


def read_data(name: str, kind: type[T]) -> T:
    """The content of `name`.yaml beside this module, as a `kind`. An unknown or missing key is our bug."""
    return convert(read_yaml(_FOLDER / f"{name}.yaml"), kind)
