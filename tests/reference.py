"""The reference data that the package's own data is compared with; it lies beside the project."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[2] / "shared" / "reference"


@cache
def reference(name: str) -> Any:
    """The parsed content of one reference file, by its name without `.yaml`."""
    return yaml.load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
