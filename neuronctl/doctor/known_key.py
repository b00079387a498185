"""Known keys: those of artifacts, which look like secrets and are none."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_KEY = re.compile(r"[0-9a-f]{32}")


def spoken_keys(value: object, name: str = "") -> Iterator[str]:
    """The keys of artifacts that plain data speaks of: each `key` that has the form of one."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from spoken_keys(inner, str(key))
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from spoken_keys(inner, name)
    elif name == "key" and isinstance(value, str) and _KEY.fullmatch(value):
        yield value
