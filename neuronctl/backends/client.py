"""A client of a running server: the few requests that neuronctl makes itself."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neuronctl.host import Host


@dataclass(frozen=True)
class Answer:
    """A greedy answer: its text, and of each token the text and the log probability (NaN where none came)."""

    text: str
    tokens: tuple[str, ...]
    logprobs: tuple[float, ...]


class NoAnswer(Exception):
    """The server did not answer, or not with a completion. `status` is 0 where there was no HTTP answer."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True)
class Client:
    """Talks to the OpenAI-compatible server at `url` (without a path) about the model served as `model`."""

    host: Host
    url: str
    model: str
    api_key: str | None = None

    def chat(self, prompt: str, *, max_tokens: int, timeout_s: float, logprobs: bool = True) -> Answer:
        """The greedy answer to one user message. Raises NoAnswer."""
        body: dict[str, object] = {
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": max_tokens,
        }
        if logprobs:
            body["logprobs"] = True
        choice = self._ask("/v1/chat/completions", body, timeout_s)
        message = _mapping(choice.get("message"))
        # With a reasoning parser what the model thinks stands beside the answer (vLLM 0.11: the first).
        thought = message.get("reasoning_content") or message.get("reasoning") or ""
        content = [_mapping(part) for part in _list(_mapping(choice.get("logprobs")).get("content"))]
        return Answer(
            text=f"{thought}{message.get('content') or ''}",
            tokens=tuple(str(part.get("token")) for part in content),
            logprobs=tuple(_number(part.get("logprob")) for part in content),
        )

    def complete(self, prompt: str, *, max_tokens: int, timeout_s: float, logprobs: bool = True) -> Answer:
        """The greedy continuation of a text. Raises NoAnswer.

        The first request for log probabilities makes vLLM compile what computes them, which takes seconds;
        who only wants to know whether an answer comes should not ask for them.
        """
        body: dict[str, object] = {"prompt": prompt, "max_tokens": max_tokens}
        if logprobs:
            body["logprobs"] = 1
        choice = self._ask("/v1/completions", body, timeout_s)
        told = _mapping(choice.get("logprobs"))
        return Answer(
            text=str(choice.get("text") or ""),
            tokens=tuple(map(str, _list(told.get("tokens")))),
            logprobs=tuple(_number(value) for value in _list(told.get("token_logprobs"))),
        )

    def healthy(self, *, timeout_s: float) -> str | None:
        """None where `/health` answers well, otherwise what it said."""
        answer = self.host.http("GET", f"{self.url}/health", timeout_s=timeout_s)
        return None if answer.status == 200 else f"/health: {answer.status or ''} {answer.body[:200]}".strip()

    def _ask(self, path: str, body: Mapping[str, object], timeout_s: float) -> Mapping[str, Any]:
        headers = {"Content-Type": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        data = json.dumps({"model": self.model, "temperature": 0, **body}).encode()
        answer = self.host.http("POST", f"{self.url}{path}", body=data, headers=headers, timeout_s=timeout_s)
        if answer.status != 200:
            raise NoAnswer(
                answer.status, f"{path} answered {answer.status or 'nothing'}: {answer.body[:300]}"
            )
        try:
            choice = json.loads(answer.body)["choices"][0]
        except (ValueError, LookupError, TypeError, RecursionError):
            raise NoAnswer(200, f"{path} answered what is not a completion: {answer.body[:300]}") from None
        if not isinstance(choice, dict):
            raise NoAnswer(200, f"{path} answered what is not a completion: {answer.body[:300]}")
        return choice


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan
