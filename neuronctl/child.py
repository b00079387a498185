"""A child process: started without a shell, always drained, and gone with its whole tree when it ends.

neuronctl does not start the child itself: a guard does (`child_guard.py`), which owns the child's tree, so
that nothing of it outlives the child or neuronctl. Everything here works on that one arrangement.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from neuronctl.child_log import ChildLog
from neuronctl.errors import MachineUnfit, NeuronctlError, StackUnfit
from neuronctl.host import Host
from neuronctl.secret import secret_values

if TYPE_CHECKING:
    import subprocess

RUN_ID = "NEURONCTL_RUN_ID"
"""The variable in every child's environment that names the run it belongs to."""

LINE_BYTES = 64 * 1024
"""A longer line is cut into lines of about this length."""

_CHUNK_BYTES = 256 * 1024
_QUIET_S = 0.5
_START_S = 60.0


@dataclass(frozen=True)
class Launch:
    """What to run: an argv list, the child's whole environment, its working folder and its log file.

    Values of variables that look secret (`OPENAI_API_KEY`, `HF_TOKEN`, …) are masked in the log and in
    every line that is handed on. The environment is not part of the repr.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    cwd: Path
    log: Path


@dataclass(frozen=True)
class Ended:
    """How a child ended: an exit code, or the number of the signal that killed it.

    Both are None when it is not known (the guard itself was killed). `out_of_memory`: it ended badly, and
    the kernel's count of out-of-memory kills on this machine rose while it ran. `left` are pids that KILL
    could not end.
    """

    code: int | None
    signal: int | None
    out_of_memory: bool = False
    left: tuple[int, ...] = ()

    def __str__(self) -> str:
        why = " (the machine ran out of memory)" if self.out_of_memory else ""
        if self.signal is not None:
            try:
                name = signal.Signals(self.signal).name
            except ValueError:
                name = f"signal {self.signal}"
            return f"was killed by {name}{why}"
        if self.code is not None:
            return f"exited with code {self.code}{why}"
        return "ended in an unknown way"


class Child:
    """A running child and its tree, made by `Child.start`; as a context manager it cannot be forgotten."""

    def __init__(self, guard: subprocess.Popen[bytes], pid: int, run_id: str, log: ChildLog) -> None:
        self.pid = pid
        self.run_id = run_id
        self.log = log
        self.peak_memory_bytes = 0
        self.ended: Ended | None = None
        self._guard = guard
        self._control = threading.Lock()
        self._over = threading.Event()
        self._pump: threading.Thread | None = None

    @classmethod
    def start(
        cls,
        launch: Launch,
        host: Host,
        *,
        on_output: Callable[[bytes], None] = lambda block: None,
        on_end: Callable[[Ended], None] = lambda ended: None,
    ) -> Child:
        """Start `launch` in its own session with stdin from /dev/null, and read its output until it ends.

        `on_output` is called with blocks of whole lines, `on_end` once after the last of them; both by the
        thread that reads, so they must be quick, must not raise, and hand on by queueing. Returns after the
        program was executed (about 30 ms).

        Raises StackUnfit where the program is missing or is no program, MachineUnfit where the machine
        refuses another process.
        """
        import subprocess
        import uuid

        run_id = uuid.uuid4().hex
        order = _order(launch, run_id)
        oom_kills = _oom_kills(host)
        log = ChildLog(launch.log)
        status, status_write = os.pipe()
        output, output_write = os.pipe()
        _widen(output)
        guard: subprocess.Popen[bytes] | None = None
        try:
            guard_script = str(Path(__file__).with_name("child_guard.py"))
            guard = subprocess.Popen(
                [sys.executable, "-I", "-S", guard_script, str(status_write)],
                stdin=subprocess.PIPE,
                stdout=output_write,
                stderr=output_write,
                pass_fds=(status_write,),
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            raise _cannot_start(launch, error.errno or 0, str(error.strerror)) from None
        finally:
            os.close(status_write)
            os.close(output_write)
            if guard is None:
                os.close(status)
                os.close(output)
                log.close()
        assert guard.stdin is not None
        try:
            pid = _greet(guard, order, status, launch)
        except BaseException:
            guard.stdin.close()
            guard.wait()
            os.close(status)
            os.close(output)
            log.close()
            raise
        child = cls(guard, pid, run_id, log)
        reader = _Pump(child, output, status, tuple(map(os.fsencode, secret_values(launch.env))), on_output)

        def pump() -> None:
            ended = reader.run()
            if (ended.code or ended.signal == signal.SIGKILL) and _oom_kills(host) > oom_kills:
                ended = Ended(ended.code, ended.signal, True, ended.left)
            child.ended = ended
            child._over.set()
            on_end(ended)

        child._pump = threading.Thread(target=pump, name=f"pump-{pid}", daemon=True)
        child._pump.start()
        return child

    def signal(self, number: int) -> None:
        """Send a signal to the child's process group; nothing happens when the child has ended.

        After KILL the rest of the tree has a second to clean up, and is then killed too.
        """
        self._tell_guard(bytes([number]))

    def wait(self, timeout_s: float | None = None) -> Ended | None:
        """Wait for the end of the whole tree; None when it did not come in time."""
        self._over.wait(timeout_s)
        return self.ended

    def stop(self, *, int_s: float = 10.0, term_s: float = 10.0, kill_s: float = 15.0) -> Ended | None:
        """INT, TERM and KILL, once each, with the time each is given; None when even KILL did not help."""
        for number, budget_s in ((signal.SIGINT, int_s), (signal.SIGTERM, term_s), (signal.SIGKILL, kill_s)):
            self.signal(number)
            if self.wait(budget_s) is not None:
                break
        return self.ended

    def close(self) -> None:
        """Kill the tree if it is alive, and wait for its end (at most about 20 s)."""
        with self._control:
            assert self._guard.stdin is not None
            self._guard.stdin.close()
        self._over.wait(20.0)
        if self._pump is not None and self._pump is not threading.current_thread():
            self._pump.join(5.0)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _tell_guard(self, message: bytes) -> None:
        with self._control:
            if self._guard.stdin is None or self._guard.stdin.closed or self.ended is not None:
                return
            try:
                self._guard.stdin.write(message)
            except OSError:
                return  # the guard has ended, and the child with it


class _Pump:
    """Reads a child's output and its guard's reports; the only reader of both."""

    def __init__(
        self,
        child: Child,
        output: int,
        status: int,
        secrets: tuple[bytes, ...],
        on_output: Callable[[bytes], None],
    ) -> None:
        self.child = child
        self.output = output
        self.status = status
        self.secrets = secrets
        self.on_output = on_output
        self.rest = b""
        self.reports = b""

    def run(self) -> Ended:
        os.set_blocking(self.output, False)
        waiting = [self.output, self.status]
        while self.status in waiting:
            ready = _readable(waiting, _QUIET_S if self.rest else None)
            if self.output in ready and not self.read_output():
                waiting.remove(self.output)
            if self.status in ready:
                report = os.read(self.status, 4096)
                self.reports += report
                if not report:
                    waiting.remove(self.status)
                self.read_reports()
            if not ready and self.rest:  # a line that is begun and not ended, as before a hang
                self.hand_on(self.rest)
                self.rest = b""
        # The guard has ended and with it all writers; what it could not kill may hold the pipe open.
        while self.output in waiting and self.read_output(to_the_last=True):
            pass
        if self.rest:
            self.hand_on(self.rest + b"\n")
        os.close(self.output)
        os.close(self.status)
        self.child.log.close()
        self.child._guard.wait()
        with self.child._control:
            if self.child._guard.stdin is not None:
                self.child._guard.stdin.close()
        return self.ending()

    def read_output(self, *, to_the_last: bool = False) -> bool:
        """Read what is there; False at the end (or, `to_the_last`, when there is nothing now)."""
        try:
            chunk = os.read(self.output, _CHUNK_BYTES)
        except BlockingIOError:
            return not to_the_last
        if not chunk:
            return False
        data = self.rest + chunk
        cut = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        block, self.rest = data[:cut], data[cut:]
        if len(self.rest) > LINE_BYTES:
            block, self.rest = data + b"\n", b""
        if block:
            self.hand_on(block)
        return True

    def hand_on(self, block: bytes) -> None:
        for secret in self.secrets:
            block = block.replace(secret, b"***")
        self.child.log.write(block)
        try:
            self.on_output(block)
        except Exception as error:  # the child must be drained, whatever its listener does
            self.on_output = lambda block: None
            self.child.log.write(f"[neuronctl: stopped following this log: {error!r}]\n".encode())

    def read_reports(self) -> None:
        for line in self.reports.splitlines():
            if line.startswith(b"memory ") and self.reports.endswith(b"\n"):
                self.child.peak_memory_bytes = max(self.child.peak_memory_bytes, int(line[7:]))

    def ending(self) -> Ended:
        code: int | None = None
        left: tuple[int, ...] = ()
        known = False
        for line in self.reports.splitlines():
            word, _, value = line.partition(b" ")
            if word == b"exit":
                code, known = int(value), True
            elif word == b"left":
                left = tuple(int(pid) for pid in value.split())
        if not known:
            # The guard was killed. The kernel has killed the child; its children can only be looked for.
            left = _kill_marked(self.child.run_id, self.child.pid)
            return Ended(None, None, left=left)
        if code is not None and code < 0:
            return Ended(None, -code, left=left)
        return Ended(code, None, left=left)


def _order(launch: Launch, run_id: str) -> bytes:
    env = {**launch.env, RUN_ID: run_id}
    words = [str(launch.cwd), str(len(launch.argv)), *launch.argv]
    words += [f"{name}={value}" for name, value in env.items()]
    if any("\0" in word for word in words):
        raise StackUnfit("an argument or variable of the child holds a NUL character")
    body = b"\0".join(os.fsencode(word) for word in words)
    return len(body).to_bytes(8, "big") + body


def _greet(guard: subprocess.Popen[bytes], order: bytes, status: int, launch: Launch) -> int:
    """Say what to run; the child's pid, once it runs."""
    assert guard.stdin is not None
    answer = b""
    try:
        view = memoryview(order)
        while view:
            view = view[guard.stdin.write(view) or 0 :]
        while not answer.endswith(b"\n"):
            if not _readable([status], _START_S):
                break
            piece = os.read(status, 1)
            if not piece:
                break
            answer += piece
    except BrokenPipeError:
        pass
    word, _, value = answer.decode("utf-8", "replace").strip().partition(" ")
    if word == "pid":
        return int(value)
    number, _, text = value.partition(" ")
    raise _cannot_start(launch, int(number or 0), text or "the process that guards it did not answer")


def _readable(fds: list[int], timeout_s: float | None) -> list[int]:
    """Those with something to read or at their end. Not select(2), which knows no fd above 1023."""
    import select

    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return [fd for fd, _ in poll.poll(None if timeout_s is None else timeout_s * 1000)]


def _cannot_start(launch: Launch, number: int, text: str) -> NeuronctlError:
    import errno

    what = f"cannot start {launch.argv[0]}: {text}"
    if number in (errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ENOTDIR, errno.ELOOP, errno.E2BIG):
        if not launch.cwd.is_dir():
            what += f" (working folder {launch.cwd})"
        return StackUnfit(what, code="child.not-started", fix="check the serving Python: --python PATH")
    return MachineUnfit(what, code="child.not-started")


def _widen(pipe: int) -> None:
    """A larger pipe lets a child that writes in bursts run on while we read (Linux; default 64 KiB)."""
    import fcntl

    if hasattr(fcntl, "F_SETPIPE_SZ"):
        try:
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 1024 * 1024)
        except OSError:
            return


def _oom_kills(host: Host) -> int:
    """The kernel's count of out-of-memory kills since boot (`oom_kill` in /proc/vmstat); 0 if unknown."""
    try:
        lines = host.path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _kill_marked(run_id: str, session: int) -> tuple[int, ...]:
    """Kill processes of a run by its marker or session; best effort, only for when the guard was lost."""
    import time

    deadline = time.monotonic() + 10.0
    mark = f"{RUN_ID}={run_id}".encode()
    while True:
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                fields = (folder / "stat").read_bytes().rpartition(b")")[2].split()
                ours = int(fields[3]) == session or mark in (folder / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if ours and fields[0] not in b"ZX":
                found.append(int(folder.name))
        if not found or time.monotonic() > deadline:
            return tuple(found)
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
        time.sleep(0.02)
