"""The program: calls the command line, and turns every ending into an exit code without a traceback."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from io import TextIOWrapper
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from neuronctl.cli.invocation import Invocation
    from neuronctl.cli.render import Story
    from neuronctl.errors import NeuronctlError

# A second request to stop that comes sooner is taken for the same one (a terminal and a wrapper such as
# `make` both deliver ^C), so that it cannot tear the cleaning up in two.
AGAIN_AFTER_S = 2.0


def main() -> NoReturn:
    """The console script."""
    _open_missing_streams()
    code = run(sys.argv[1:])
    _discard_unwritable()
    sys.exit(code)


def run(words: list[str]) -> int:
    """Run neuronctl with these words; the exit number."""
    stop = StopRequest()
    try:
        return _run(words, stop)
    except KeyboardInterrupt:  # while an ending was being told, or nothing had begun yet
        return 128 + (stop.number or signal.SIGINT)


class _Stop(KeyboardInterrupt):
    """Of a kind that no library takes for a failure of its own.

    Not KeyboardInterrupt itself: where that passes through exec() of a text, as it does while a dataclass is
    made, CPython remembers it and ends by SIGINT whatever the exit code (3.11, run_eval_code_obj).
    """


class StopRequest:
    """INT, TERM and HUP, for as long as nobody else handles them: each raises _Stop.

    `number` is the signal that came. One that is ignored when we begin stays ignored (`nohup`, a shell's
    background job).
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._asked_at = 0.0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._asked)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.number is not None and now - self._asked_at < AGAIN_AFTER_S:
            return
        self.number, self._asked_at = number, now
        raise _Stop

    def as_error(self) -> NeuronctlError:
        """What it is called when such a signal ended our work."""
        from neuronctl.errors import Interrupted, Terminated

        if self.number in (None, signal.SIGINT):
            return Interrupted("stopped by ^C")
        return Terminated(f"stopped by {signal.Signals(self.number or 0).name}")


def _run(words: list[str], stop: StopRequest) -> int:
    from neuronctl.cli.invocation import Invocation
    from neuronctl.cli.render import AnswerNotWritten, Story, render_error
    from neuronctl.errors import UsageError
    from neuronctl.host import Host

    passthrough: list[str] = []
    if "--" in words:
        at = words.index("--")
        words, passthrough = words[:at], words[at + 1 :]
    as_json = "--json" in words
    try:
        host = Host()
    except FileNotFoundError:
        gone = UsageError("the current folder does not exist any more", fix="cd ~")
        render_error("neuronctl", gone, as_json=as_json, data={})
        return int(gone.exit_code)
    story = Story()
    call = Invocation(host=host, tell=story.tell, passthrough=tuple(passthrough), as_json=as_json)
    failure = _answer(words, call, story, stop)
    if failure is None:
        return int(call.result.exit_code) if call.result else call.exit_code
    story.end()
    with suppress(OSError, AnswerNotWritten):  # where it cannot be told, the number still can
        render_error(call.command, failure, as_json=call.as_json, data=call.data)
    return int(failure.exit_code)


def _answer(words: list[str], call: Invocation, story: Story, stop: StopRequest) -> NeuronctlError | None:
    """Do what the words say and write the answer; the failure, if it is one."""
    from neuronctl.cli.render import render_result
    from neuronctl.errors import Interrupted, NeuronctlError

    try:
        call.exit_code = _command(words, call)
        if stop.number is not None and call.result is None:  # Typer makes a mere number of it
            return stop.as_error()
        story.end()
        if call.result is not None:
            render_result(call.result, as_json=call.as_json)
    except Interrupted as error:  # either of a child's, or Typer's word for KeyboardInterrupt
        return error if stop.number is None else stop.as_error()
    except NeuronctlError as error:
        return error
    except KeyboardInterrupt:
        return stop.as_error()
    except BrokenPipeError:
        pass  # whoever read our answer, such as `head`, has read enough
    except Exception as error:
        from neuronctl.cli.report import our_bug

        return our_bug(error, call, words)
    return None


def _command(words: list[str], call: Invocation) -> int:
    """Let Typer find the command and call it. Raises UsageError for words it cannot understand."""
    import typer

    from neuronctl.cli.app import app
    from neuronctl.errors import Exit, Interrupted, UsageError

    try:
        code = app(args=words, prog_name="neuronctl", standalone_mode=False, obj=call)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        if type(error).__name__ == "NoArgsIsHelpError" and context is not None:
            sys.stderr.write(context.get_help() + "\n")
            return int(Exit.USAGE)
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        command = context.command_path if context else "neuronctl"
        raise UsageError(message, fix=f"{command} --help") from None
    except typer.Abort:
        raise Interrupted("stopped by ^C") from None
    return code if isinstance(code, int) else 0


def _open_missing_streams() -> None:
    """Give closed streams (`>&-`) a place to write to, else the next file opened would take their number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A letter that the terminal's encoding lacks is no reason to fail.
            stream.reconfigure(errors="backslashreplace")


def _discard_unwritable() -> None:
    """Let Python's own flush at exit go nowhere where it would fail: it would complain once more."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


if __name__ == "__main__":
    main()
