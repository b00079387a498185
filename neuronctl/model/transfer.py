"""Transfer: files of a repository into the hub's cache; runs in a child process of its own."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock

import msgspec

from neuronctl.errors import ModelNotResolved
from neuronctl.host import Host
from neuronctl.model.hub_error import Asked, in_plain_words
from neuronctl.model.patience import UNTOLD_S, Waiting
from neuronctl.model.receive import Order, receive_file
from neuronctl.typed import decode_json
from neuronctl.whole_file import write_whole

AT_ONCE = 8
# Pauses before a transfer is taken up again that brings nothing new.
_PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0)
# What the hub may ask for instead.
_LONGEST_PAUSE_S = 600.0


class Pause(msgspec.Struct, frozen=True):
    """Why nothing comes, and until when (seconds since the epoch); the child leaves it for who follows."""

    why: str
    until: float

    def write(self, path: Path) -> None:
        """Leave it."""
        with suppress(OSError):
            write_whole(path, msgspec.json.encode(self))

    @classmethod
    def read(cls, path: Path) -> Pause | None:
        """What write() wrote last, None where there was none."""
        try:
            return decode_json(path.read_bytes(), cls)
        except (OSError, ValueError):
            return None


def main() -> None:
    """The child: `order.json`, a file for the error, if there is one, and one for the pauses."""
    order, answer, pause = Order.read(Path(sys.argv[1])), Path(sys.argv[2]), Path(sys.argv[3])
    try:
        _bring_all(order, Waiting(_PAUSES_S, _LONGEST_PAUSE_S, _waits(pause)))
    except Exception as error:
        plain = error if isinstance(error, ModelNotResolved) else _plain(error, order)
        told = {"code": plain.error_code, "what": plain.what, "fix": plain.fix}
        answer.write_text(json.dumps(told), encoding="utf-8")
        _log(f"{type(error).__name__}: {error}")
        # Other threads may be in the middle of a file: what they have is taken up the next time.
        os._exit(1)


def _log(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _plain(error: Exception, order: Order) -> ModelNotResolved:
    return in_plain_words(error, Asked(order.listing.repo_id, order.listing.commit), Host())


def _waits(path: Path) -> Callable[[float, str], None]:
    """A wait that leaves word of itself."""
    lock = Lock()

    def wait(pause_s: float, why: str) -> None:
        _log(why)
        if pause_s > UNTOLD_S:
            with lock:
                Pause(why, time.time() + pause_s).write(path)
        time.sleep(pause_s)

    return wait


def _bring_all(order: Order, waiting: Waiting) -> None:
    from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

    # The largest first: at the end all are busy.
    files = order.listing.files
    names = sorted(files, key=lambda name: files[name].size_bytes or 0, reverse=True)
    pool = ThreadPoolExecutor(AT_ONCE)
    running = [pool.submit(receive_file, name, order, waiting) for name in names]
    done, _ = wait(running, return_when=FIRST_EXCEPTION)
    for one in done:
        one.result()
