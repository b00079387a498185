"""Probes: whether a server answers, asked the way its users will."""

from __future__ import annotations

from collections.abc import Callable

from neuronctl.backends.client import Client, NoAnswer
from neuronctl.errors import CompileFailed
from neuronctl.serving.probe import ProbeAnswer

FAILURES = 50  # in a row; at five questions a second ten seconds of nothing but errors
_REFUSED_FOR_GOOD = frozenset({401, 403, 404})


def until_answers(client: Client, *, timeout_s: float = 60.0) -> Callable[[], ProbeAnswer]:
    """A probe that is content when the server completes a prompt: one token of a real answer.

    `/health` alone is not enough: it answers before the engine can. A server that answers with an error of
    its own again and again will not mend.
    """
    failures = 0

    def probe() -> ProbeAnswer:
        nonlocal failures
        try:
            client.complete("Hello", max_tokens=1, timeout_s=timeout_s, logprobs=False)
        except NoAnswer as error:
            # Nobody listens yet: that is what starting is, and no clue to why a start failed.
            why = "" if error.status == 0 and "refused" in str(error) else str(error)
            failures = failures + 1 if error.status >= 500 else 0
            return ProbeAnswer(False, why, fatal=error.status in _REFUSED_FOR_GOOD or failures >= FAILURES)
        return ProbeAnswer(True)

    return probe


def until_speaks(
    answers: Callable[[], ProbeAnswer], smoke_test: Callable[[], object]
) -> Callable[[], ProbeAnswer]:
    """A probe that is content when `answers` is and the smoke test has passed, which is run once.

    For what was compiled where it could not run: a compiled model can be wrong without an error.
    """

    def probe() -> ProbeAnswer:
        answer = answers()
        if not answer.ok:
            return answer
        try:
            smoke_test()
        except CompileFailed as error:
            return ProbeAnswer(False, str(error), fatal=True)
        return answer

    return probe


def while_healthy(client: Client, *, timeout_s: float = 10.0) -> Callable[[], ProbeAnswer]:
    """A gentle probe for a server that is ready: does it still answer `/health`."""

    def probe() -> ProbeAnswer:
        trouble = client.healthy(timeout_s=timeout_s)
        return ProbeAnswer(trouble is None, trouble or "")

    return probe
