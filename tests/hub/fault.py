"""Fault: what goes wrong with some requests, and how many times."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from fnmatch import fnmatchcase


@dataclass
class Fault:
    """What happens to requests whose path matches `path` (as fnmatch does; it has no query).

    A file that Git LFS holds is asked for twice, at the hub and at the CDN; both paths end with its name.
    `times` is to how many requests it happens (None: to all, until it is lifted), after the first `skip`.
    `method` limits it to one. Several happenings may be set together.

    Before anything is answered:
        delay_s       seconds until the headers
        status        this status instead of the answer, with `retry_after_s`, `error_code` and `message`
        hang          nothing is ever answered
        drop          the connection is reset without an answer
    To the bodies of good answers (a HEAD, a redirect and an error are left alone, and not counted):
        bytes_per_s   slow
        cut_after     the connection ends after so many bytes of the body; `reset` makes it a reset
        stall_after   nothing more comes after so many bytes of the body, and the connection stays
        flip_at       the byte at this offset of the file is another; negative counts from the end
        shorter_by    the file lacks so many bytes at its end, and the answer says so in its own length
        ignore_range  the whole file with status 200, although a range was asked for
    """

    path: str = "*"
    times: int | None = 1
    skip: int = 0
    method: str | None = None
    delay_s: float = 0.0
    status: int | None = None
    retry_after_s: int | None = None
    error_code: str | None = None
    message: str | None = None
    hang: bool = False
    drop: bool = False
    bytes_per_s: float | None = None
    cut_after: int | None = None
    reset: bool = False
    stall_after: int | None = None
    flip_at: int | None = None
    shorter_by: int = 0
    ignore_range: bool = False
    happened: int = field(default=0, init=False)

    @property
    def before_answer(self) -> bool:
        """Whether it happens before the headers, and so to any request."""
        return bool(self.delay_s or self.status or self.hang or self.drop)

    def matches(self, method: str, path: str, *, good_body: bool, ranged: bool) -> bool:
        """Whether it may happen to a request; `good_body` is whether a good answer's body would follow."""
        if self.method not in (None, method) or not fnmatchcase(path, self.path):
            return False
        if self.before_answer:
            return True
        return good_body and (ranged or not self.ignore_range)


class Faults:
    """Those that are set, in order: the first that matches happens, and no other."""

    def __init__(self) -> None:
        self._set: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Set one more."""
        with self._lock:
            self._set.append(fault)

    def lift(self, fault: Fault | None = None) -> None:
        """Take one away, or all."""
        with self._lock:
            self._set = [] if fault is None else [other for other in self._set if other is not fault]

    def take(self, method: str, path: str, *, good_body: bool, ranged: bool) -> Fault | None:
        """What happens to this request."""
        with self._lock:
            for fault in self._set:
                if not fault.matches(method, path, good_body=good_body, ranged=ranged):
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                if fault.times is None or fault.happened < fault.times:
                    fault.happened += 1
                    return fault
        return None
