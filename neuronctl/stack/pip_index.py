"""Whether pip looks for everything in AWS's repository, which only has Neuron's packages.

Old instructions set `global.index-url` where they meant `extra-index-url`
(gh:aws-neuron/aws-neuron-sdk#1224, #1215, #1228).
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from neuronctl.host import Host
from neuronctl.time_limit import within

AWS_HOST = "pip.repos.neuron.amazonaws.com"
_READ_S = 2.0
_VARIABLE = "PIP_INDEX_URL"
# What pip takes for true (pip/_internal/utils/misc.py, strtobool).
_TRUE = {"y", "yes", "t", "true", "on", "1"}


@dataclass(frozen=True)
class PipIndex:
    """Where pip looks for packages, without any password; `place` is the variable or file that says so."""

    url: str
    place: str

    @property
    def as_extra(self) -> str:
        """What to do so that it is asked beside the ordinary one."""
        if self.place == _VARIABLE:
            return f"unset {_VARIABLE}; export PIP_EXTRA_INDEX_URL={self.url}"
        return f"in {self.place} call it extra-index-url instead of index-url"


def aws_pip_index(host: Host, python: Path) -> PipIndex | None:
    """pip's index where that is AWS's; None where it is another or pip's own.

    Read from `PIP_INDEX_URL` and pip's configuration files, in pip's order: the last that says one wins.
    """
    index, place = host.environ.get("PIP_INDEX_URL") or None, _VARIABLE
    texts = {str(file): _text(file) for file in _files(host, python)} if index is None else {}
    if any(AWS_HOST in text for text in texts.values()):
        for file, text in texts.items():
            if (said := _index_url(text)) is not None:
                index, place = said, file
    if index is None or AWS_HOST not in index:
        return None
    return PipIndex(re.sub(r"//[^/@]*@", "//", index), place)


@dataclass(frozen=True)
class PipObstacle:
    """Why pip installs nothing, as a clause, and what to do about it."""

    what: str
    fix: str


def pip_obstacle(host: Host, python: Path) -> PipObstacle | None:
    """What keeps pip from any package: PIP_NO_INDEX or no-index, or a file of its own that it cannot read."""
    said = host.environ.get("PIP_NO_INDEX")
    if said is not None and said.strip().lower() in _TRUE:
        return PipObstacle(f"PIP_NO_INDEX={said} lets pip ask no index", "unset PIP_NO_INDEX")
    no_index = None
    for file in _files(host, python):
        try:
            options = _options(_content(file).decode("utf-8"))
        except OSError:
            continue
        except (UnicodeDecodeError, configparser.Error) as error:
            why = "is no text" if isinstance(error, UnicodeDecodeError) else str(error).splitlines()[0]
            return PipObstacle(f"pip stops at {file}, which cannot be read: {why}", f"mend {file}")
        if (value := options.get("no-index")) is not None:
            no_index = file if value.strip().lower() in _TRUE else None
    if no_index is None or said is not None:
        return None
    return PipObstacle(f"no-index in {no_index} lets pip ask no index", f"take no-index out of {no_index}")


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
        return _content(file).decode("utf-8", "replace")
    except OSError:
        return ""


def _content(file: Path) -> bytes:
    """Raises OSError, and TimeUp, which is one, where it hangs."""
    return within(_READ_S, file.read_bytes)


def _index_url(text: str) -> str | None:
    try:
        return _options(text).get("index-url") or None
    except configparser.Error:
        return None


def _options(text: str) -> Mapping[str, str]:
    """What a configuration says of installing. Raises configparser.Error."""
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(text)
    return {
        name.replace("_", "-"): value
        for section in ("global", "install")
        if parser.has_section(section)
        for name, value in parser.items(section)
    }
