"""Listeners: which ports of this machine are waited on, and by whom, from /proc alone.

In a container these are those of its own network; a process of another container has no number here.
"""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from collections.abc import Collection
from dataclasses import dataclass

from neuronctl.host import Host
from neuronctl.machine.reading import SCAN_S, answered, list_folder, read_text

# Linux, include/net/tcp_states.h.
_LISTEN = "0A"
_SOCKET = re.compile(r"socket:\[([0-9]+)\]")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Listener:
    """A socket that waits for connections at `address` and `port`.

    `uid` is the number of the user whose it is; `inode` is the socket's own, which its process has open.
    """

    address: Address
    port: int
    uid: int
    inode: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


def read_listeners(host: Host) -> tuple[Listener, ...] | None:
    """All of them (Linux, Documentation/networking/proc_net_tcp.rst); None where nobody tells.

    Raises NoAnswer.
    """
    # A kernel without IPv6 has no second one; either has a first line at least.
    texts = [text for name in ("tcp", "tcp6") if (text := read_text(host, f"/proc/net/{name}"))]
    if not texts:
        return None
    return tuple(one for text in texts for line in text.splitlines() if (one := _read_line(line)))


def holders(host: Host, inodes: Collection[int]) -> dict[int, tuple[int, ...]]:
    """Socket → the processes that have it open, lowest number first.

    Of other users' processes only root is told; a socket that nobody could be found for is left out. Raises
    NoAnswer.
    """
    if not inodes:
        return {}
    return answered(host, "/proc", lambda: _find_holders(host, inodes), limit_s=SCAN_S)


def _find_holders(host: Host, inodes: Collection[int]) -> dict[int, tuple[int, ...]]:
    found: dict[int, list[int]] = {}
    pids = sorted(int(name) for name in list_folder(host, "/proc") if name.isascii() and name.isdecimal())
    for pid in pids:
        for name in list_folder(host, f"/proc/{pid}/fd"):
            try:
                link = os.readlink(host.path(f"/proc/{pid}/fd/{name}"))
            except OSError:  # closed meanwhile
                continue
            if (said := _SOCKET.fullmatch(link)) and int(said[1]) in inodes:
                found.setdefault(int(said[1]), []).append(pid)
    return {inode: tuple(dict.fromkeys(each)) for inode, each in found.items()}


def _read_line(line: str) -> Listener | None:
    words = line.split()
    if len(words) < 10 or words[3] != _LISTEN:
        return None
    address, _, port = words[1].partition(":")
    try:
        return Listener(_read_address(address), int(port, 16), int(words[7]), int(words[9]))
    except ValueError:
        return None


def _read_address(text: str) -> Address:
    """Words of 32 bits in hexadecimal digits, each as a number of this machine's own byte order."""
    words = [int(text[start : start + 8], 16) for start in range(0, len(text), 8)]
    packed = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
    address = ipaddress.ip_address(packed)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
