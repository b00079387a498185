"""The guard: a small process that stands between neuronctl and one child, and owns the child's whole tree.

It is run as a script (`python -I -S child_guard.py STATUS_FD`), with the standard library alone. The reason
for its being: no process of a server may outlive neuronctl, whatever kills neuronctl, and however the
server's own processes are arranged.

- The guard is the tree's sub-reaper (Linux, prctl(2)), so a grandchild whose parent died becomes the guard's
  child, also where it changed its session or overwrote its environment (vLLM renames its processes, and
  that overwrites `/proc/PID/environ`). All descendants are found by their parents, none by a name.
- fd 0 is a pipe from neuronctl. The first message is what to run; after it every byte is the number of a
  signal for the child's process group. End of file means that neuronctl is dead or wants an end: all
  descendants are killed.
- The child itself is killed by the kernel when the guard dies (PR_SET_PDEATHSIG; set between fork and exec
  by the only thread that the guard has, and the parent is compared afterwards, so there is no gap).
- The status pipe carries lines: `pid N`, `error ERRNO TEXT`, `memory BYTES`, `exit CODE` (negative: a
  signal), `left PID…` (what KILL could not end).

Elsewhere than on Linux there is no sub-reaper and no /proc: then the process group is what can be killed.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from contextlib import suppress

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
SWEEP_S = 10.0
GRACE_S = 1.0
SAMPLE_S = 0.5
LINUX = sys.platform.startswith("linux")


def prctl(option: int, value: int) -> None:
    """Set one process attribute; does nothing where there is no prctl(2)."""
    if not LINUX:
        return
    try:
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        return


def read_exactly(fd: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = os.read(fd, size - len(data))
        if not piece:
            os._exit(1)  # neuronctl died before it had said what to run
        data += piece
    return data


def descendants() -> list[int]:
    """Pids below this process that are alive, from /proc; zombies are left out."""
    parents: dict[int, list[tuple[int, bool]]] = {}
    try:
        names = os.listdir("/proc")
    except OSError:
        return []
    for name in names:
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append((int(name), fields[0] in b"ZX"))
    found: list[int] = []
    look = [os.getpid()]
    while look:
        for pid, dead in parents.get(look.pop(), ()):
            look.append(pid)
            if not dead:
                found.append(pid)
    return found


def resident_bytes(pids: list[int]) -> int:
    """Memory of the processes together: what is private to each, and the largest shared part once."""
    private, shared = 0, 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/statm", "rb") as file:
                fields = file.read().split()
        except OSError:
            continue
        if len(fields) > 2:
            private += int(fields[1]) - int(fields[2])
            shared = max(shared, int(fields[2]))
    return (private + shared) * os.sysconf("SC_PAGE_SIZE")


def start(argv: list[bytes], env: dict[bytes, bytes], cwd: bytes) -> tuple[int, str]:
    """Fork and exec; returns the pid and "" or, when the exec failed, errno and text."""
    guard = os.getpid()
    read_end, write_end = os.pipe()  # closed by a successful exec
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            if hasattr(signal, "SIGXFSZ"):
                signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != guard:
                os._exit(1)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.chdir(cwd)
            os.execvpe(argv[0], argv, env)
        except OSError as error:
            os.write(write_end, f"{error.errno} {error.strerror}".encode())
        except (ValueError, IndexError) as error:  # an odd name of a variable, no program
            os.write(write_end, f"0 {error}".encode())
        finally:
            os._exit(127)
    os.close(write_end)
    problem = b""
    while piece := os.read(read_end, 4096):
        problem += piece
    os.close(read_end)
    return pid, problem.decode()


class Guard:
    def __init__(self, status: int) -> None:
        self.status = status
        os.set_inheritable(status, False)
        self.parent = os.getppid()
        self.leader = 0
        self.peak = 0
        self.code: int | None = None
        self.wake, write = os.pipe()
        for fd in (self.wake, write):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    def say(self, line: str) -> None:
        with suppress(OSError):  # neuronctl is gone; end of file on fd 0 says so too
            os.write(self.status, line.encode() + b"\n")

    def wait(self, timeout_s: float) -> None:
        """Until a child changed or the time is over."""
        select.select([self.wake], [], [], timeout_s)
        self.drain()

    def drain(self) -> None:
        with suppress(BlockingIOError):
            os.read(self.wake, 4096)

    def run(self) -> None:
        size = int.from_bytes(read_exactly(0, 8), "big")
        cwd, count, *words = read_exactly(0, size).split(b"\0")
        argv, pairs = words[: int(count)], words[int(count) :]
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        env = dict(pair.split(b"=", 1) for pair in pairs)
        self.leader, problem = start(argv, env, cwd)
        os.close(1)  # the output is the child's; fd 2 stays for a traceback of our own
        if problem:
            os.waitpid(self.leader, 0)
            self.say(f"error {problem}")
            return
        self.say(f"pid {self.leader}")
        self.watch()
        self.sweep()

    def watch(self) -> None:
        """Pass on signals and measure, until the child ends or neuronctl does."""
        pause = 0.05
        sample_at = time.monotonic() + pause
        while True:
            ready, _, _ = select.select([0, self.wake], [], [], max(0.0, sample_at - time.monotonic()))
            if self.wake in ready:
                self.drain()
            self.reap()
            if self.code is not None:
                return
            if 0 in ready:
                orders = os.read(0, 64)
                if not orders:
                    return
                for number in orders:
                    self.signal_group(number)
            if os.getppid() != self.parent:
                return
            if time.monotonic() >= sample_at:
                begun = time.monotonic()
                self.remember_memory(resident_bytes(descendants()))
                # A scan of /proc is cheap, but not on a machine with many thousand processes.
                pause = max(min(SAMPLE_S, pause * 2), 50 * (time.monotonic() - begun))
                sample_at = time.monotonic() + pause

    def remember_memory(self, size_bytes: int) -> None:
        if size_bytes > self.peak:
            self.peak = size_bytes
            self.say(f"memory {size_bytes}")

    def signal_group(self, number: int) -> None:
        """Only while the child is not reaped: until then its number cannot belong to somebody else.

        KILL goes to the child alone; `sweep` sees to the others, which may clean up after it.
        """
        with suppress(ProcessLookupError, PermissionError):
            if number == signal.SIGKILL:
                os.kill(self.leader, number)
            else:
                os.killpg(self.leader, number)

    def reap(self) -> bool:
        """Bury all that is dead; False when no child of any kind is left."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            self.remember_memory(usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
            if pid == self.leader:
                self.code = os.waitstatus_to_exitcode(status)

    def sweep(self) -> None:
        """Kill what is left of the tree, say how the child ended, and what would not die.

        What is left gets a moment to end by itself: Python's resource tracker is such a process, and removes
        the shared memory and semaphores of a dead one, which else stay until the machine is restarted.
        """
        if self.code is None:
            self.signal_group(signal.SIGKILL)
        begun = time.monotonic()
        if not LINUX:  # the group is all that we know there
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.leader, signal.SIGKILL)
        while self.reap():
            left = descendants()
            spent_s = time.monotonic() - begun
            if self.code is not None and spent_s < GRACE_S:
                self.wait(0.02)
                continue
            if spent_s > SWEEP_S:
                self.say("left " + " ".join(map(str, left)))
                break
            for pid in left:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            self.wait(0.02)
        if self.code is not None:
            self.say(f"exit {self.code}")


if __name__ == "__main__":
    Guard(int(sys.argv[1])).run()
