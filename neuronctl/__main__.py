"""The program: calls the command line, and turns every ending into an exit code without a traceback."""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from neuronctl.cli.stop import StopRequest
from neuronctl.cli.streams import discard_unwritable, open_missing_streams

if TYPE_CHECKING:
    from neuronctl.cli.invocation import Invocation
    from neuronctl.cli.render import Story
    from neuronctl.errors import NeuronctlError


def main() -> NoReturn:
    """The console script."""
    open_missing_streams()
    code = run(sys.argv[1:])
    discard_unwritable()
    sys.exit(code)


def run(words: list[str]) -> int:
    """Run neuronctl with these words; the exit number."""
    stop = StopRequest()
    try:
        return _run(words, stop)
    except KeyboardInterrupt:  # while an ending was being told, or nothing had begun yet
        return 130 if stop.number in (None, signal.SIGINT) else 143


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
        is_open = call.result is None and not call.is_answered
        if stop.number is not None and is_open:  # Typer makes a mere number of it
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


if __name__ == "__main__":
    main()
