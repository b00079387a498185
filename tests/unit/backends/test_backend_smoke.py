"""The smoke test: sound answers pass, each kind of broken answer is named."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from neuronctl.backends.client import Answer, Client
from neuronctl.backends.smoke import PROMPTS, run_smoke_test, what_is_wrong
from neuronctl.errors import CompileFailed, Exit
from neuronctl.host import Host, Response

WORDS = ("The", " capital", " of", " France", " is", " Paris", ".")


def answer(text: str, tokens: tuple[str, ...] = (), logprobs: tuple[float, ...] = ()) -> Answer:
    return Answer(text, tokens, logprobs)


SOUND = {
    "a sentence": answer("".join(WORDS), WORDS, (-0.1,) * 7),
    "no log probabilities": answer("Paris."),
    "short and repeated": answer("ha ha ha", ("ha",) * 3, (-0.5,) * 3),
    "eleven times the same": answer("ha" * 11, ("ha",) * 11, (-0.5,) * 11),
    "unsure": answer("Paris", ("Par", "is"), (-5.9, -5.9)),
    "a cycle that ends": answer("ababababababc", tuple("ababababababc"), (-0.1,) * 13),
    "words alone": answer("The capital of France is Paris, a city on the Seine, and has been for long."),
    "a short word alone": answer("ha" * 11),
    "one character lost": answer("caf\ufffd is a place", ("x",), (-1.0,)),
}


@pytest.mark.parametrize("good", SOUND.values(), ids=SOUND)
def test_a_sound_answer(good: Answer) -> None:
    assert what_is_wrong(good) is None


BROKEN = {
    "nothing": (answer(""), "it says nothing"),
    "spaces": (answer(" \n\t"), "it says nothing"),
    "NaN": (answer("Paris", ("Paris",), (math.nan,)), "its log probabilities are not all numbers"),
    "infinite": (answer("Paris", ("P", "s"), (-0.1, -math.inf)), "its log probabilities are not all numbers"),
    "NaN and nothing": (answer("", (), (math.nan,)), "its log probabilities are not all numbers"),
    "one token": (answer("!" * 24, ("!",) * 24, (-0.1,) * 24), "it repeats itself without end"),
    "two by turns": (answer("ab" * 6, tuple("ab" * 6), (-0.1,) * 12), "it repeats itself without end"),
    "three by turns": (answer("abc" * 8, tuple("abc" * 8), (-0.1,) * 24), "it repeats itself without end"),
    "words alone, by turns": (answer("yes no " * 6), "it repeats itself without end"),
    "letters alone": (answer("!" * 24), "it repeats itself without end"),
    "undecoded": (answer("\ufffd\ufffdab", ("x",), (-0.1,)), "its text cannot be decoded"),
    "chance": (answer("gh xq", ("gh", "xq"), (-10.8, -9.0)), "it guesses at chance"),
    "vLLM's stand-in for minus infinity": (answer("x", ("x",), (-9999.0,)), "it guesses at chance"),
}


@pytest.mark.parametrize(("bad", "said"), BROKEN.values(), ids=BROKEN)
def test_a_broken_answer(bad: Answer, said: str) -> None:
    assert what_is_wrong(bad) == said


@dataclass(frozen=True)
class Server(Host):
    """A Host on which a server answers by path."""

    answers: Mapping[str, Callable[[dict[str, Any]], Response]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def http(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 5.0,
    ) -> Response:
        path = url.removeprefix("http://server")
        self.asked.append(path)
        return self.answers[path](json.loads(body or b"{}"))


def chat_answer(content: str) -> Response:
    return Response(200, json.dumps({"choices": [{"message": {"content": content}}]}))


def run(tmp_path: Path, **answers: Callable[[dict[str, Any]], Response]) -> tuple[Any, Server]:
    server = Server(
        environ={},
        cwd=tmp_path,
        answers={
            "/v1/chat/completions": answers["chat"],
            "/v1/completions": answers.get("text", answers["chat"]),
        },
    )
    return run_smoke_test(Client(server, "http://server", "m")), server


def test_every_prompt_is_asked_and_its_answer_kept(tmp_path: Path) -> None:
    pairs, server = run(tmp_path, chat=lambda body: chat_answer("To " + body["messages"][0]["content"]))
    assert pairs == tuple((prompt, "To " + prompt) for prompt in PROMPTS)
    assert server.asked == ["/v1/chat/completions"] * len(PROMPTS)


def test_a_model_without_a_chat_template_is_given_a_text_to_go_on_with(tmp_path: Path) -> None:
    pairs, _ = run(
        tmp_path,
        chat=lambda body: Response(400, "no chat template"),
        text=lambda body: Response(200, json.dumps({"choices": [{"text": "after " + body["prompt"]}]})),
    )
    assert [said for _, said in pairs] == ["after " + prompt for prompt in PROMPTS]


def test_a_broken_answer_fails_the_compile_and_is_shown(tmp_path: Path) -> None:
    with pytest.raises(CompileFailed) as caught:
        run(tmp_path, chat=lambda body: chat_answer("\ufffd" * 9))
    error = caught.value
    assert (error.error_code, error.exit_code) == ("compile.smoke-test", Exit.COMPILE_FAILED)
    assert PROMPTS[0] in error.what
    assert "cannot be decoded" in error.what
    assert error.details == {"prompt": PROMPTS[0], "answer": "\ufffd" * 9}
    assert "float32" in str(error.fix)


@pytest.mark.parametrize("status", [0, 401, 500])
def test_no_answer_fails_the_compile(tmp_path: Path, status: int) -> None:
    with pytest.raises(CompileFailed) as caught:
        run(tmp_path, chat=lambda body: Response(status, "Out of range float values are not JSON compliant"))
    assert caught.value.error_code == "compile.smoke-test"
    assert "not JSON compliant" in caught.value.what


def test_neither_a_chat_nor_a_text_is_answered(tmp_path: Path) -> None:
    with pytest.raises(CompileFailed, match="/v1/completions answered 404"):
        run(tmp_path, chat=lambda body: Response(404, "no such model"))
