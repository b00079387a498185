"""Host: the one door to the world (environment, clock, files, processes, network).

Every arrow takes a Host, so a test hands it another world: an environment mapping, a folder that
stands for `/`, a clock it turns by hand.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from neuronctl.errors import UsageError

if TYPE_CHECKING:
    from urllib.request import OpenerDirector

    from neuronctl.short_command import Finished


@dataclass(frozen=True)
class Response:
    """An HTTP answer: `status` is the code, 0 when there was no answer, and then `body` says why."""

    status: int
    body: str


@dataclass(frozen=True)
class Host:
    """The real world. Tests replace its fields, or subclass it.

    `root` stands for `/` when facts of the machine are read (`/proc`, `/sys`, `/dev`); `cwd` is where
    relative paths of the user begin. `offline` says that --offline was typed: nobody on the network is asked.
    """

    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    cwd: Path = field(default_factory=Path.cwd)
    root: Path = Path("/")
    offline: bool = field(default=False, kw_only=True)

    @property
    def home(self) -> Path:
        """The user's home folder: `HOME`, else what the password database says. Raises UsageError."""
        if home := self.environ.get("HOME"):
            if not os.path.isabs(home):
                raise UsageError(f"HOME is {home}, which is not absolute", fix="export HOME=/path/to/folder")
            return Path(home)
        import pwd

        try:
            return Path(pwd.getpwuid(os.getuid()).pw_dir)
        except KeyError:  # as in a container that runs under a number without a name
            raise UsageError("this user has no home folder", fix="export HOME=/path/to/folder") from None

    @property
    def neuronctl_home(self) -> Path:
        """Where neuronctl keeps artifacts, converted models and logs (`NEURONCTL_HOME`).

        Default: `neuronctl` in the user's cache folder (`XDG_CACHE_HOME`, else `~/.cache`).
        """
        if named := self.environ.get("NEURONCTL_HOME"):
            return self.expand(named)
        cache = self.environ.get("XDG_CACHE_HOME")
        return (Path(cache) if cache else self.home / ".cache") / "neuronctl"

    @property
    def config_home(self) -> Path:
        """The user's own configuration folder (`XDG_CONFIG_HOME`, else `~/.config`), `neuronctl` in it."""
        config = self.environ.get("XDG_CONFIG_HOME")
        return (Path(config) if config else self.home / ".config") / "neuronctl"

    def expand(self, said: str) -> Path:
        """A path as the user said it: `~` is their home, and what is relative begins at `cwd`."""
        if said == "~" or said.startswith("~/"):
            return self.home / said[2:]
        return self.cwd / said

    def path(self, absolute: str) -> Path:
        """The file that stands for `absolute` (a path beginning with `/`) on this machine."""
        return self.root / absolute.lstrip("/")

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        return time.monotonic()

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait `seconds`."""
        time.sleep(seconds)

    def run(self, argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None) -> Finished:
        """Run a short command to its end with no stdin; never raises for what the command does.

        See run_short.
        """
        from neuronctl.short_command import run_short

        environment = self.environ if env is None else env
        return run_short(argv, timeout_s=timeout_s, env=environment, cwd=self.cwd)

    def http(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 5.0,
    ) -> Response:
        """One HTTP request, without proxies (servers asked here are on this machine); never raises."""
        import urllib.error
        import urllib.request

        try:
            request = urllib.request.Request(url, data=body, method=method, headers=dict(headers or {}))
            with _opener().open(request, timeout=timeout_s) as answer:
                return Response(answer.status, answer.read().decode("utf-8", "replace"))
        except urllib.error.HTTPError as error:
            with error:
                return Response(error.code, error.read().decode("utf-8", "replace"))
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)  # what urllib wraps
            return Response(0, getattr(reason, "strerror", None) or str(reason))
        except Exception as error:  # http.client raises kinds of its own on a torn connection
            return Response(0, f"{type(error).__name__}: {error}")

    def port_is_free(self, address: str, port: int) -> bool:
        """Whether a server could listen on `address`:`port` now."""
        import socket

        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((address, port))
        except (OSError, ValueError, TypeError):  # the last two: an address that cannot be a host name
            return False
        return True


@cache
def _opener() -> OpenerDirector:
    """Without proxies; made once, because making it loads the machine's certificates."""
    import urllib.request

    return urllib.request.build_opener(urllib.request.ProxyHandler({}))
