"""python -m tests.hub ROOT: serve the models below a folder, to try a client by hand."""

# ruff: noqa: T201 - it speaks on stdout, as a program does

from __future__ import annotations

import argparse
import signal
from collections.abc import Iterator
from pathlib import Path

from tests.hub.repository import Repository
from tests.hub.server import Hub


def find_repositories(root: Path) -> Iterator[Repository]:
    """ROOT/org/name and ROOT/name: a folder of the first level that holds files is a model itself."""
    for first in sorted(path for path in root.iterdir() if path.is_dir()):
        if any(path.is_file() for path in first.iterdir()):
            yield Repository.from_folder(first.name, first)
            continue
        for second in sorted(path for path in first.iterdir() if path.is_dir()):
            yield Repository.from_folder(f"{first.name}/{second.name}", second)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.hub", description=__doc__)
    parser.add_argument(
        "root", type=Path, metavar="ROOT", help="a folder with models: ROOT/org/name/config.json"
    )
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    arguments = parser.parse_args()
    # Blocked before any thread begins, which inherits it: the signals wait for sigwait then.
    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    with Hub(*find_repositories(arguments.root), port=arguments.port) as hub:
        print(hub.endpoint, flush=True)
        signal.sigwait(ends)


if __name__ == "__main__":
    main()
