"""Process: who it is that runs on this machine, from /proc alone."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass

from neuronctl.host import Host
from neuronctl.machine.reading import NoAnswer, read_text


@dataclass(frozen=True)
class Process:
    """A process. `name` is its program's, never its command line, which may hold a key.

    `owner` is the user's name, else their number; `state` is Linux's letter (`Z` is dead and not yet waited
    for); `parent` is 1 where whoever started it has ended.
    """

    pid: int
    name: str
    owner: str
    parent: int
    state: str

    def __str__(self) -> str:
        return f"{self.pid} ({self.name}, {self.owner})"


def read_process(host: Host, pid: int) -> Process | None:
    """The process of this number; None where there is none here, as for one of another container.

    Raises NoAnswer.
    """
    stat = read_text(host, f"/proc/{pid}/stat", 4096)
    said = re.match(r"[0-9]+ \((?P<name>.*)\) (?P<state>\S) (?P<parent>[0-9]+) ", stat, re.DOTALL)
    if said is None:
        return None
    owner = re.search(r"^Uid:\s+([0-9]+)", read_text(host, f"/proc/{pid}/status", 4096), re.MULTILINE)
    title = ""
    with suppress(NoAnswer):  # it lies in the process's own memory, which a driver that hangs may keep locked
        title = read_text(host, f"/proc/{pid}/cmdline", 4096).split("\0")[0].split(" ")[0]
    name = os.path.basename(title) if title else said["name"]
    return Process(
        pid=pid,
        name="".join(letter for letter in name if letter.isprintable())[:40] or said["name"],
        owner=user_name(int(owner[1])) if owner else "unknown",
        parent=int(said["parent"]),
        state=said["state"],
    )


def user_name(number: int) -> str:
    """The user's name, or `user 1234` where the machine has none for it."""
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # as a user of the host in a container
        return f"user {number}"
