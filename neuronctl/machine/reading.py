"""Reading one fact from one small file of the machine; what cannot be read is empty."""

from __future__ import annotations

from neuronctl.host import Host


def read_text(host: Host, path: str, most: int = -1) -> str:
    """The file's text, at most `most` characters of it; empty where it cannot be read."""
    try:
        with host.path(path).open(encoding="utf-8", errors="replace") as file:
            return file.read(most)
    except OSError:
        return ""


def read_number(host: Host, path: str) -> int | None:
    """The whole number that the file holds, None where it holds none or cannot be read."""
    text = read_text(host, path, 32).strip()
    # `isdecimal` alone takes digits of other scripts.
    return int(text) if text.isascii() and text.isdecimal() else None


def list_folder(host: Host, path: str) -> tuple[str, ...]:
    """The names in a folder, sorted; none where it cannot be read."""
    try:
        return tuple(sorted(entry.name for entry in host.path(path).iterdir()))
    except OSError:
        return ()
