"""The reference server's pure parts: when tokens are due, what is asked, what is said."""

from __future__ import annotations

import json
from itertools import islice, pairwise
from typing import Any

import pytest
from tokenizers import Tokenizer

from neuronctl.bench.reference_process import TOKENIZER
from neuronctl.bench.reference_server import (
    Api,
    BadRequest,
    Question,
    Settings,
    Texts,
    deadlines,
    read_question,
)


def due(settings: Settings, number: int = 1, tokens: int = 5) -> list[float]:
    return list(islice(deadlines(settings, number, 100.0), tokens))


def question(
    api: Api = "completions", tokens: int = 3, *, stream: bool = True, usage: bool = True
) -> Question:
    return Question(api, "reference", 4, tokens, stream, usage)


def events(pieces: list[bytes]) -> list[Any]:
    """What a client makes of a stream: its JSON events, and the word at its end."""
    body = b""
    for piece in pieces:
        while piece:
            size, _, rest = piece.partition(b"\r\n")
            body += rest[: int(size, 16)]
            assert rest[int(size, 16) :][:2] == b"\r\n"
            piece = rest[int(size, 16) + 2 :]
    said = [one.removeprefix("data: ") for one in body.decode().split("\n\n") if one]
    return [one if one == "[DONE]" else json.loads(one) for one in said]


def test_tokens_are_due_by_the_arrival_alone() -> None:
    assert due(Settings(ttft_s=0.05, itl_s=0.01)) == pytest.approx([100.05, 100.06, 100.07, 100.08, 100.09])
    (late,) = islice(deadlines(Settings(), 1, 0.0), 100_000, 100_001)
    assert late == pytest.approx(0.05 + 1000, abs=1e-9)


def test_slower_multiplies_both_times() -> None:
    assert due(Settings(ttft_s=0.05, itl_s=0.01, slower=2), tokens=3) == pytest.approx(
        [100.1, 100.12, 100.14]
    )


def test_noise_is_bounded_and_the_same_for_the_same_seed() -> None:
    noisy = Settings(ttft_s=0.05, itl_s=0.01, jitter=0.2)
    times = due(noisy, tokens=200)
    assert 0.04 <= times[0] - 100 <= 0.06
    gaps = [after - before for before, after in pairwise(times)]
    assert 0.008 <= min(gaps) < 0.0085 and 0.0115 < max(gaps) <= 0.012 + 1e-9
    assert due(noisy, tokens=200) == times
    assert due(noisy, 2) != due(noisy, 1) != due(Settings(jitter=0.2, seed=1), 1)


@pytest.mark.parametrize(
    ("api", "body", "prompt_tokens", "tokens"),
    [
        ("completions", {"prompt": "bado fige  hako", "max_tokens": 7}, 3, 7),
        ("completions", {"prompt": [5, 6, 7, 8]}, 4, 16),
        ("chat", {"messages": [{"role": "user", "content": "bado fige"}], "max_completion_tokens": 2}, 2, 2),
        (
            "chat",
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a b c"}]}], "max_tokens": 9},
            3,
            9,
        ),
    ],
)
def test_what_is_asked(api: Api, body: dict[str, Any], prompt_tokens: int, tokens: int) -> None:
    asked = read_question(api, json.dumps({"model": "m", **body}).encode())
    assert asked == Question(api, "m", prompt_tokens, tokens, stream=False, usage=False)


@pytest.mark.parametrize("body", ["", "[]", "{", '{"max_tokens": -1}', '{"max_tokens": "many"}'])
def test_what_is_no_question(body: str) -> None:
    with pytest.raises(BadRequest):
        read_question("completions", body.encode())


@pytest.mark.parametrize("tokens", [1, 2, 3, 30])
@pytest.mark.parametrize("api", ["completions", "chat"])
def test_a_stream_has_a_piece_for_each_token_and_ends(api: Api, tokens: int) -> None:
    pieces = list(Texts("reference").pieces(question(api, tokens)))
    assert len(pieces) == tokens
    assert pieces[-1].endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    pieces[-1] = pieces[-1].removesuffix(b"0\r\n\r\n")
    *said, usage, end = events(pieces)
    assert end == "[DONE]"
    assert usage["choices"] == []
    assert usage["usage"] == {"prompt_tokens": 4, "completion_tokens": tokens, "total_tokens": 4 + tokens}
    choices = [one["choices"][0] for one in said]
    assert [one["finish_reason"] for one in choices] == [None] * (tokens - 1) + ["length"]
    texts = [one["delta"]["content"] if api == "chat" else one["text"] for one in choices]
    assert len("".join(texts).split()) == tokens
    if api == "chat":
        assert choices[0]["delta"]["role"] == "assistant"


def test_usage_comes_only_where_it_is_asked_for() -> None:
    (last,) = Texts("reference").pieces(question(tokens=1, usage=False))
    assert b"usage" not in last


def test_the_tokenizer_counts_what_the_server_says() -> None:
    tokenizer = Tokenizer.from_file(str(TOKENIZER / "tokenizer.json"))
    body = Texts("reference").whole(question(tokens=40, stream=False)).partition(b"\r\n\r\n")[2]
    ids = tokenizer.encode(json.loads(body)["choices"][0]["text"]).ids
    assert len(ids) == 40
    assert tokenizer.token_to_id("<unk>") not in ids


def test_any_tokens_decode_to_text_of_as_many_tokens() -> None:
    """What vLLM's random prompts need to be exactly as long as asked for."""
    tokenizer = Tokenizer.from_file(str(TOKENIZER / "tokenizer.json"))
    size = tokenizer.get_vocab_size()
    assert size > 300
    ids = [3 + 7 * step % (size - 3) for step in range(size)]
    assert tokenizer.encode(tokenizer.decode(ids)).ids == ids
