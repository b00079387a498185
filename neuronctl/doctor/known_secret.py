"""Known secrets: what this user's environment and files hold that nobody else may read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from neuronctl.errors import UsageError
from neuronctl.host import Host
from neuronctl.model.hub_place import token_file
from neuronctl.secret import is_secret, secret_values

_MOST_BYTES = 64 * 1024
_LINE = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_.-]*)\s*[=:]\s*(\S.*)")


def known_secrets(host: Host) -> tuple[str, ...]:
    """Secret values of the environment, and those in the files of the hub's client and of AWS's."""
    found = list(secret_values(host.environ))
    with suppress(UsageError):  # a user without a home folder has no such file
        token = token_file(host)
        found.append(_read(token).strip())  # nothing else is in it
        found += _values(_read(token.with_name("stored_tokens")))
    for path in _aws_files(host):
        found += _values(_read(path))
    with suppress(UsageError):
        found += _passwords(host)
    return tuple(found)


def _passwords(host: Host) -> Iterator[str]:
    """Of other hosts, as curl, git, PostgreSQL and Docker keep them. Raises UsageError without a home."""

    def named(variable: str, usual: str) -> str:
        said = host.environ.get(variable)
        return _read(host.expand(said) if said else host.home / usual)

    yield from re.findall(r"\bpassword\s+(\S+)", named("NETRC", ".netrc"))
    for line in named("PGPASSFILE", ".pgpass").splitlines():
        yield line.rpartition(":")[2].strip()
    yield from re.findall(r"://[^\s/:@]*:([^\s/@]+)@", _read(host.home / ".git-credentials"))
    folder = host.environ.get("DOCKER_CONFIG")
    docker = (host.expand(folder) if folder else host.home / ".docker") / "config.json"
    yield from re.findall(r"\"(?:auth|identitytoken|registrytoken)\"\s*:\s*\"([^\"]+)\"", _read(docker))


def _aws_files(host: Host) -> Iterator[Path]:
    try:
        named = host.environ.get("AWS_SHARED_CREDENTIALS_FILE")
        yield host.expand(named) if named else host.home / ".aws" / "credentials"
        named = host.environ.get("AWS_CONFIG_FILE")
        yield host.expand(named) if named else host.home / ".aws" / "config"
    except UsageError:
        return


def _values(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if (said := _LINE.match(line)) and is_secret((said[1],), said[2].strip()):
            yield said[2].strip()


def _read(path: Path) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # somebody's pipe must not hold us up
    except OSError:
        return ""
    with open(fd, "rb") as file:
        try:
            return file.read(_MOST_BYTES).decode("utf-8", "replace")
        except OSError:
            return ""
