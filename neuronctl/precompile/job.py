"""Job: one compile of many. It is `neuronctl compile` itself, in a child, whose answer goes to a file."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from neuronctl.child import Child, Ended, Launch
from neuronctl.errors import Exit, MachineUnfit, NeuronctlError, OutOfHostMemory
from neuronctl.host import Host
from neuronctl.pipeline import Request
from neuronctl.precompile.verdict import Outcome, Trouble, Verdict
from neuronctl.runs import open_run

# A child's stdout is its log too, so the answer is led elsewhere. It finds modules where we do: `-c` alone
# would look into the working folder first, where a file may be named as one of them.
_CODE = """\
import sys
sys.path[:] = {path!r}
import os
os.dup2(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 1)
sys.argv[:] = ["neuronctl", *sys.argv[2:]]
from neuronctl.__main__ import main
main()
"""


class NoAnswer(NeuronctlError):
    """A child has ended and left no answer, or half of one."""

    code = "compile.no-answer"
    exit_code = Exit.OUR_BUG


@dataclass
class Job:
    """A compile that runs. `line` is the last of its story; `log` holds all of that."""

    request: Request
    answer: Path
    log: Path
    began: float
    child: Child | None = None
    line: str = ""
    closing: ExitStack = field(default_factory=ExitStack)

    @classmethod
    def start(
        cls,
        request: Request,
        name: str,
        host: Host,
        *,
        check: bool,
        lock_timeout_s: float | None,
        on_end: Callable[[], None],
    ) -> Job:
        """Start the child. `on_end` is called by another thread.

        Raises MachineUnfit where the machine refuses a process or a file.
        """
        began = host.monotonic()
        with ExitStack() as stack:
            try:
                run = stack.enter_context(open_run(host, name, "compile-story"))
            except OSError as error:
                raise MachineUnfit(
                    f"no log can be written, neither in {host.neuronctl_home} nor in the temporary folder: "
                    f"{error.strerror}",
                    fix="free some space, or set NEURONCTL_HOME and TMPDIR to folders that can be written",
                ) from None
            job = cls(request, run.work / "answer.json", run.log, began)
            words = words_for(request, check=check, lock_timeout_s=lock_timeout_s)
            argv = (sys.executable, "-c", _CODE.format(path=sys.path), str(job.answer), *words)
            launch = Launch(argv, env=host.environ, cwd=host.cwd, log=run.log)
            try:
                child = Child.start(launch, host, on_output=job.hear, on_end=lambda ended: on_end())
            except NeuronctlError:
                run.log.unlink(missing_ok=True)
                raise
            job.child = stack.enter_context(child)
            job.closing = stack.pop_all()
        return job

    def hear(self, block: bytes) -> None:
        """Remember the last line of the story."""
        lines = block.decode("utf-8", "replace").split("\n")
        self.line = next((line.strip() for line in reversed(lines) if line.strip()), self.line)

    def signal(self, number: int) -> None:
        """Send a signal to the child, which passes on what is needed to its own."""
        if self.child is not None:
            self.child.signal(number)

    def close(self) -> None:
        """Kill the child if it lives, and remove what only it needed."""
        self.closing.close()

    def end(self, verdict: Verdict, host: Host, *, stopped_by: Exit | None) -> Verdict:
        """The verdict of a child that has ended. `stopped_by`: we had asked it to stop."""
        answer = read_answer(self.answer)
        ended = self.child.ended if self.child is not None else None
        self.close()
        verdict = replace(verdict, took_s=host.monotonic() - self.began)
        if answer is None and stopped_by is None:
            return verdict.with_error(_no_answer(ended, self.log), "failed")
        # All that the story tells of is in the answer, and only so many logs are kept.
        with suppress(OSError):
            self.log.unlink()
        if answer is None:
            return replace(verdict, outcome="stopped", exit_code=stopped_by)
        return judge(verdict, answer)


def words_for(request: Request, *, check: bool, lock_timeout_s: float | None) -> list[str]:
    """The command line that compiles what is requested, and answers in JSON."""
    words = ["compile", request.reference, "--json"]
    words += [f"--set={text}" for text in request.sets]
    options = {
        "--python": request.python,
        "--target": request.target,
        "--stack": request.stack,
        "--lock-timeout": lock_timeout_s,
        **{flag: value for value, flag in request.flags.values()},
    }
    words += [f"{option}={value}" for option, value in options.items() if value is not None]
    words += ["--force"] * request.force + ["--check"] * check
    return [*words, "--", *request.passthrough] if request.passthrough else words


def read_answer(path: Path) -> dict[str, Any] | None:
    """The envelope that a child wrote; None where there is none, or half of one."""
    try:
        answer = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(answer, dict) or not {"exit_code", "data", "errors"} <= answer.keys():
        return None
    return answer if answer["exit_code"] in list(Exit) else None


def judge(verdict: Verdict, answer: Mapping[str, Any]) -> Verdict:
    """The verdict that a child's envelope amounts to."""
    code, data = Exit(answer["exit_code"]), answer["data"]
    troubles = tuple(Trouble.from_envelope(one) for one in answer["errors"])
    outcomes: dict[Exit, Outcome] = {
        Exit.CACHE_MISS: "miss",
        Exit.ANSWER_IS_NO: "refused",
        Exit.USAGE: "refused",
        Exit.INTERRUPTED: "stopped",
        Exit.TERMINATED: "stopped",
    }
    outcome = outcomes.get(code, "failed")
    if code is Exit.DONE:
        outcome = "compiled" if data.get("outcome") == "compiled" else "hit"
    log = data.get("log") or next((one.details["log"] for one in troubles if one.details.get("log")), None)
    return replace(
        verdict,
        outcome=outcome,
        exit_code=code,
        key=data.get("key") or verdict.key,
        name=data.get("profile") or verdict.name,
        path=data.get("path"),
        log=str(log) if log else None,
        troubles=troubles,
        retries=data.get("retries"),
    )


def _no_answer(ended: Ended | None, log: Path) -> NeuronctlError:
    """The error for a child without an answer, as far as it is known why."""
    how = str(ended or Ended(None, None))
    details: dict[str, object] = {"log": str(log), "last_lines": _last_lines(log)}
    if ended is not None and ended.out_of_memory:
        return OutOfHostMemory(
            f"the compile ended without an answer: it {how}",
            fix="use a machine with more memory, or fewer --jobs",
            details=details,
        )
    if ended is not None and ended.code == Exit.MACHINE_UNFIT:
        return MachineUnfit(
            f"the compile's answer could not be written: it {how}",
            fix="free some space; what was compiled is kept, so type the same command again",
            code="answer.not-written",
            details=details,
        )
    return NoAnswer(
        f"the compile ended without an answer: it {how}",
        fix=f"look at the log {log}; if nobody killed it, please report it",
        details=details,
    )


def _last_lines(log: Path) -> list[str]:
    """What the story said last; not the calls of a traceback, which stand further in."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - 4096))
            lines = stream.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    return [line for line in lines if line.strip() and not line.startswith(("  ", "Traceback"))][-5:]
