"""The smoke test: whether a freshly compiled model still speaks.

A compiled model can be wrong without an error, so that it only shows in what it says. A few fixed prompts
are answered greedily; the answers are kept in the manifest. What counts as broken is chosen so that a small
or clumsy model passes and a broken one does not: no text, log probabilities that are no numbers, one
token or a short cycle over and over, characters that could not be decoded, or guesses at which the model is
hardly better than chance.
"""

from __future__ import annotations

import math

from neuronctl.backends.client import Answer, Client, NoAnswer
from neuronctl.errors import CompileFailed

PROMPTS = (
    "What is the capital of France?",
    "Write one sentence about the sea.",
    "Which number comes after seven?",
)
MAX_TOKENS = 24
TIMEOUT_S = 300.0

_LONGEST_CYCLE = 3
_ENOUGH_TOKENS = 12
_UNDECODED_SHARE = 0.2
# A natural logarithm: the model gives its own best guess less than 1 in 400 on average. Wrong numbers
# spread the probability over the whole vocabulary (1 in 49 152: -10.8); text is around -1.
_CHANCE = -6.0


def run_smoke_test(client: Client, *, logprobs: bool = True) -> tuple[tuple[str, str], ...]:
    """Ask every prompt; the pairs of prompt and answer. Raises CompileFailed for an answer that is broken.

    `logprobs`: whether the server can tell log probabilities.
    """
    answers = []
    for prompt in PROMPTS:
        answer = _ask(client, prompt, logprobs)
        if wrong := what_is_wrong(answer):
            raise CompileFailed(
                f"the compiled model fails the smoke test: asked {prompt!r}, {wrong}; "
                f"it said {answer.text!r}",
                fix="compile with another engine.dtype (float32 is the safest); if it stays, report it with "
                "the log",
                code="compile.smoke-test",
                details={"prompt": prompt, "answer": answer.text},
            )
        answers.append((prompt, answer.text))
    return tuple(answers)


def what_is_wrong(answer: Answer) -> str | None:
    """Why this answer cannot come from a sound model, in words; None where it can."""
    if any(not math.isfinite(value) for value in answer.logprobs):
        return "its log probabilities are not all numbers"
    if not answer.text.strip():
        return "it says nothing"
    if answer.text.count("\N{REPLACEMENT CHARACTER}") > _UNDECODED_SHARE * len(answer.text):
        return "its text cannot be decoded"
    # Where the tokens are not told, words stand for them, and letters where there are no words.
    words = answer.text.split()
    tokens = answer.tokens or (words if len(words) > 1 else tuple(answer.text.strip()))
    enough = _ENOUGH_TOKENS if answer.tokens or len(words) > 1 else 2 * _ENOUGH_TOKENS
    if len(tokens) >= enough:
        for length in range(1, _LONGEST_CYCLE + 1):
            if all(token == tokens[index % length] for index, token in enumerate(tokens)):
                return "it repeats itself without end"
    if answer.logprobs and sum(answer.logprobs) / len(answer.logprobs) < _CHANCE:
        return "it guesses at chance"
    return None


def _ask(client: Client, prompt: str, logprobs: bool) -> Answer:
    """As a chat where the model has a chat template, otherwise as a text to go on with."""
    try:
        try:
            return client.chat(prompt, max_tokens=MAX_TOKENS, timeout_s=TIMEOUT_S, logprobs=logprobs)
        except NoAnswer as error:
            if error.status not in (400, 404):
                raise
            return client.complete(prompt, max_tokens=MAX_TOKENS, timeout_s=TIMEOUT_S, logprobs=logprobs)
    except NoAnswer as error:
        # A server cannot put NaN into JSON, so that broken numbers often come as an error 500.
        raise CompileFailed(
            f"the compiled model does not answer the smoke test: {error}",
            fix="look at the log; compile with engine.dtype: float32",
            code="compile.smoke-test",
        ) from None
