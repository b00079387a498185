"""The client: what it sends, and what it makes of answers good and bad."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronctl.backends.client import Answer, Client, NoAnswer
from neuronctl.host import Host, Response


@dataclass(frozen=True)
class Server(Host):
    """A Host on which every request gets `answer`; `seen` are the requests."""

    answer: Response = field(default_factory=lambda: Response(200, "{}"))
    seen: list[dict[str, Any]] = field(default_factory=list)

    def http(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 5.0,
    ) -> Response:
        self.seen.append(
            {
                "request": f"{method} {url}",
                "body": json.loads(body) if body else None,
                "headers": dict(headers or {}),
                "timeout_s": timeout_s,
            }
        )
        return self.answer


def client(answer: Response | object, api_key: str | None = None) -> Client:
    response = answer if isinstance(answer, Response) else Response(200, json.dumps(answer))
    host = Server(environ={}, cwd=Path("/"), answer=response)
    return Client(host, "http://127.0.0.1:1", "small", api_key)


def seen(one: Client) -> list[dict[str, Any]]:
    assert isinstance(one.host, Server)
    return one.host.seen


CHAT = {
    "choices": [
        {
            "message": {"content": "Paris."},
            "logprobs": {"content": [{"token": "Paris", "logprob": -0.25}, {"token": ".", "logprob": 0}]},
        }
    ]
}


def test_a_chat() -> None:
    one = client(CHAT, "sesame")
    assert one.chat("Where?", max_tokens=5, timeout_s=7) == Answer("Paris.", ("Paris", "."), (-0.25, 0.0))
    assert seen(one) == [
        {
            "request": "POST http://127.0.0.1:1/v1/chat/completions",
            "body": {
                "model": "small",
                "temperature": 0,
                "messages": [{"role": "user", "content": "Where?"}],
                "logprobs": True,
                "max_tokens": 5,
            },
            "headers": {"Content-Type": "application/json", "Authorization": "Bearer sesame"},
            "timeout_s": 7,
        }
    ]


def test_a_text_to_go_on_with() -> None:
    choice = {"text": " is", "logprobs": {"tokens": [" is"], "token_logprobs": [-0.5]}}
    one = client({"choices": [choice]})
    assert one.complete("Paris", max_tokens=1, timeout_s=2) == Answer(" is", (" is",), (-0.5,))
    assert seen(one)[0]["body"] == {
        "model": "small",
        "temperature": 0,
        "prompt": "Paris",
        "logprobs": 1,
        "max_tokens": 1,
    }
    assert "Authorization" not in seen(one)[0]["headers"]


def test_log_probabilities_that_are_none_are_not_numbers() -> None:
    content = [{"token": "a", "logprob": None}, {"token": "b"}]
    one = client({"choices": [{"message": {"content": "ab"}, "logprobs": {"content": content}}]})
    answer = one.chat("?", max_tokens=2, timeout_s=1)
    assert answer.tokens == ("a", "b")
    assert all(math.isnan(value) for value in answer.logprobs)


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_what_a_reasoning_model_thinks_is_part_of_what_it_says(name: str) -> None:
    one = client({"choices": [{"message": {"content": None, name: "Let me see"}}]})
    assert one.chat("?", max_tokens=2, timeout_s=1).text == "Let me see"


@pytest.mark.parametrize("status", [0, 400, 401, 500])
def test_a_refusal_says_its_status_and_why(status: int) -> None:
    one = client(Response(status, "because " + "x" * 1000))
    with pytest.raises(NoAnswer) as caught:
        one.chat("?", max_tokens=1, timeout_s=1)
    assert caught.value.status == status
    said = f"/v1/chat/completions answered {status or 'nothing'}: because xxx"
    assert str(caught.value).startswith(said)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "body", ["", "{", "null", "[]", '"choices"', "{}", '{"choices": []}', '{"choices": [1]}', "[" * 100_000]
)
def test_what_is_no_completion(body: str) -> None:
    for ask in (client(Response(200, body)).chat, client(Response(200, body)).complete):
        with pytest.raises(NoAnswer, match="not a completion") as caught:
            ask("?", max_tokens=1, timeout_s=1)
        assert caught.value.status == 200


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["message", "content", "logprobs", "tokens", "token_logprobs", "text", "logprob"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(anything)
def test_whatever_a_server_says_is_an_answer_or_none(choice: object) -> None:
    one = client({"choices": [choice]})
    for ask in (one.chat, one.complete):
        try:
            answer = ask("?", max_tokens=1, timeout_s=1)
        except NoAnswer:
            continue
        assert isinstance(answer.text, str)
        assert all(isinstance(token, str) for token in answer.tokens)
        assert all(isinstance(value, float) for value in answer.logprobs)


def test_health() -> None:
    well = client(Response(200, ""))
    assert well.healthy(timeout_s=3) is None
    assert seen(well)[0]["request"] == "GET http://127.0.0.1:1/health"
    assert client(Response(503, "engine dead")).healthy(timeout_s=3) == "/health: 503 engine dead"
    assert client(Response(0, "refused")).healthy(timeout_s=3) == "/health:  refused"
