"""Memory: what this machine has, and what of it may be taken now, by /proc/meminfo."""

from __future__ import annotations

from dataclasses import dataclass

from neuronctl.host import Host
from neuronctl.machine.reading import read_text


@dataclass(frozen=True)
class Memory:
    """Bytes, or a number of pages of `huge_page_bytes` each; None where the kernel does not tell.

    `available_bytes` is the kernel's own estimate of what new programs may take without swapping. Huge pages
    that are reserved are no part of it, whether somebody uses them or not.
    """

    total_bytes: int | None
    available_bytes: int | None
    swap_bytes: int | None
    swap_free_bytes: int | None
    huge_pages: int | None
    huge_pages_free: int | None
    huge_page_bytes: int | None


def read_memory(host: Host) -> Memory:
    """What /proc/meminfo says; all None where it cannot be read, as on a system that is no Linux."""
    said: dict[str, int] = {}
    for line in read_text(host, "/proc/meminfo", 1 << 16).splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if words and words[0].isascii() and words[0].isdecimal():
            said[name] = int(words[0]) * (1024 if words[1:] == ["kB"] else 1)
    return Memory(
        total_bytes=said.get("MemTotal"),
        available_bytes=said.get("MemAvailable"),
        swap_bytes=said.get("SwapTotal"),
        swap_free_bytes=said.get("SwapFree"),
        huge_pages=said.get("HugePages_Total"),
        huge_pages_free=said.get("HugePages_Free"),
        huge_page_bytes=said.get("Hugepagesize"),
    )
