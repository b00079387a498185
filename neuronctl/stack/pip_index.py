"""Whether pip looks for everything in AWS's repository, which only has Neuron's packages.

Old instructions set `global.index-url` where they meant `extra-index-url`
(gh:aws-neuron/aws-neuron-sdk#1224, #1215, #1228).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from neuronctl.host import Host
from neuronctl.time_limit import within

AWS_HOST = "pip.repos.neuron.amazonaws.com"
_READ_S = 2.0


def aws_pip_index(host: Host, python: Path) -> str | None:
    """pip's index where that is AWS's, without any password in it; None where it is another or pip's own.

    Read from `PIP_INDEX_URL` and pip's configuration files, in pip's order: the last that says one wins.
    """
    index = host.environ.get("PIP_INDEX_URL") or None
    texts = [_text(file) for file in _files(host, python)] if index is None else []
    if any(AWS_HOST in text for text in texts):
        for text in texts:
            index = _index_url(text) or index
    if index is None or AWS_HOST not in index:
        return None
    return re.sub(r"//[^/@]*@", "//", index)


def _files(host: Host, python: Path) -> Iterator[Path]:
    """pip's configuration files from the weakest to the strongest; `PIP_CONFIG_FILE=/dev/null` means none."""
    said = host.environ.get("PIP_CONFIG_FILE")
    if said == "/dev/null":
        return
    yield host.path("/etc/xdg/pip/pip.conf")
    yield host.path("/etc/pip.conf")
    if home := host.environ.get("HOME"):
        yield Path(home) / ".pip" / "pip.conf"
        yield Path(host.environ.get("XDG_CONFIG_HOME") or Path(home) / ".config") / "pip" / "pip.conf"
    yield python.parent.parent / "pip.conf"
    if said:
        yield host.cwd / said


def _text(file: Path) -> str:
    """Empty where it cannot be read, or hangs: a pipe may be named, or a server of files not answer."""
    try:
        return within(_READ_S, lambda: file.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ""


def _index_url(text: str) -> str | None:
    import configparser

    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        return None
    options = {
        name.replace("_", "-"): value
        for section in ("global", "install")
        if parser.has_section(section)
        for name, value in parser.items(section)
    }
    return options.get("index-url") or None
