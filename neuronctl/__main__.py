"""The program: calls the command line, and turns every ending into an exit code without a traceback."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

from neuronctl.cli.invocation import Invocation
from neuronctl.cli.render import Story, render_error, render_result
from neuronctl.errors import Exit, Interrupted, NeuronctlError, Terminated, UsageError
from neuronctl.host import Host


def main() -> NoReturn:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


def run(words: list[str]) -> int:
    """Run neuronctl with these words; the exit number."""
    passthrough: list[str] = []
    if "--" in words:
        at = words.index("--")
        words, passthrough = words[:at], words[at + 1 :]
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminate)
    story = Story()
    try:
        host = Host()
    except FileNotFoundError:
        sys.stderr.write("error: the current folder does not exist any more\n  try: cd ~\n")
        return int(Exit.USAGE)
    call = Invocation(host=host, tell=story.tell, passthrough=tuple(passthrough), as_json="--json" in words)
    try:
        return _answer(words, call, story)
    except BrokenPipeError:
        # Whoever read our answer, such as `head`, has gone; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(Exit.DONE)


def _answer(words: list[str], call: Invocation, story: Story) -> int:
    failure: NeuronctlError
    try:
        code = _command(words, call)
        story.end()
        if call.result is None:
            return code
        render_result(call.result, as_json=call.as_json)
        return int(call.result.exit_code)
    except NeuronctlError as error:
        failure = error
    except KeyboardInterrupt:
        failure = Interrupted("stopped by ^C")
    except BrokenPipeError:
        raise
    except Exception as error:
        from neuronctl.cli.report import our_bug

        failure = our_bug(error, call, words)
    story.end()
    render_error(call.command, failure, as_json=call.as_json, data=call.data)
    return int(failure.exit_code)


def _command(words: list[str], call: Invocation) -> int:
    """Let Typer find the command and call it. Raises UsageError for words it cannot understand."""
    import typer

    from neuronctl.cli.app import app

    try:
        code = app(args=words, prog_name="neuronctl", standalone_mode=False, obj=call)
    except typer.TyperException as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        if not message:  # no command at all: the help has been printed
            return int(Exit.USAGE)
        raise UsageError(message, fix=_help_for(error)) from None
    except typer.Abort:
        raise Interrupted("stopped by ^C") from None
    return code if isinstance(code, int) else 0


def _help_for(error: object) -> str:
    context = getattr(error, "ctx", None)
    return f"{context.command_path if context else 'neuronctl'} --help"


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated(f"stopped by {signal.Signals(number).name}")


if __name__ == "__main__":
    main()
