"""What a server's log says: the phases of its start, and marks worth knowing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Phase:
    """A stretch of a server's start that begins with a line matching `pattern` (a regular expression).

    `reads_artifact` says that a death in this phase may be the artifact's fault. A phase is seen once a
    child.
    """

    name: str
    pattern: str
    status: Literal["starting", "compiling", "loading"]
    reads_artifact: bool = False


@dataclass(frozen=True)
class Mark:
    """Something worth knowing that a line matching `pattern` says.

    `is_fatal`: the child must not go on; it is killed at once, and `name` completes "the server …".
    """

    name: str
    pattern: str
    is_fatal: bool = False
