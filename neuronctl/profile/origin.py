"""Origin: where a resolved value comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Origin:
    """Who said a value: a `file` with its `line`, or the variable or flag called `name`."""

    kind: Literal["built-in", "profile", "env", "flag"]
    file: str | None = None
    line: int | None = None
    name: str | None = None

    def __str__(self) -> str:
        if self.kind == "profile":
            return f"{self.file}:{self.line}" if self.line is not None else f"{self.file}"
        return self.name or self.kind


BUILT_IN = Origin("built-in")
