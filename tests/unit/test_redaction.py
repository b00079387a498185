"""Secrets in the middle of logs, JSON and command lines, and ordinary text that must stay."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from neuronctl.redaction import Redaction
from neuronctl.secret import HIDDEN

NOTHING = Redaction(())
PLANTED = "Zwordfish42Planted"
HUB, AMAZON = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz01234567", "AKIAIOSFODNN7EXAMPLE"


@pytest.mark.parametrize(
    "text",
    [
        f"HF_TOKEN={PLANTED}",
        f"export OPENAI_API_KEY='{PLANTED} {PLANTED}'",
        f"--api-key {PLANTED} --port 80",
        f"--api-key={PLANTED}",
        f"['--api-key', '{PLANTED}', '--port', '80']",
        f"Namespace(api_key=['{PLANTED}', 'x{PLANTED}'], port=8)",
        f'{{"api_key": "{PLANTED}", "model": "m"}}',
        json.dumps(json.dumps({"api_key": PLANTED, "a": 1})),
        json.dumps(f"line\nHF_TOKEN={PLANTED}"),
        f"Authorization: Bearer {PLANTED}",
        f"{{'Authorization': 'Basic {PLANTED}=='}}",
        f"bearer {PLANTED}",
        f"authorization: AWS4-HMAC-SHA256 Credential=AK/x, Signature={PLANTED}",
        f"Cookie: session={PLANTED}; a=b",
        f"https://user:{PLANTED}@proxy:8080/",
        f"https://{PLANTED}@pypi.example/simple",
        f"http://user:a/{PLANTED}@host",
        f"aws_secret_access_key = {PLANTED}",
        f"aws_secret_access_key {PLANTED}",
        f'"SecretAccessKey": "{PLANTED}"',
        f"GET /b/k?X-Amz-Signature={PLANTED}&X-Amz-Date=2026",
        f"?X-Amz-Security-Token={PLANTED}&x=1",
        f"?sv=2024&sig={PLANTED}",
        f"//server/share cifs user=a,password={PLANTED},uid=0",
        f"-----BEGIN RSA PRIVATE KEY-----\nMII\n{PLANTED}\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\n{PLANTED}aaaaaaaa\n{PLANTED}bbbbbbb",
        f"{PLANTED}aaaaaaa\n{PLANTED}\n-----END PRIVATE KEY-----",
        f"password\x1b[0m: {PLANTED}",
        f"config={{'a': {{'api_key': '{PLANTED}'}}}}, args: ['--hf-token={PLANTED}']",
        f"env=HF_TOKEN={PLANTED}",
    ],
)
def test_what_a_name_or_a_frame_says_is_secret(text: str) -> None:
    assert PLANTED in text
    shown = NOTHING.text(text)
    assert PLANTED not in shown
    assert HIDDEN in shown


@pytest.mark.parametrize(
    "token",
    [
        HUB,
        AMAZON,
        "sk-proj-abcDEF1234567890",
        "ghp_0123456789abcdefABCDEF",
        "github_pat_11ABCDEFG0123456789",
        "glpat-x1y2z3x1y2z3x1y2",
        "xoxb-1234567890-abcdef",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
    ],
)
@pytest.mark.parametrize("frame", ["{}", "got {}, ok", "'{}'", "x={}", r"a\n{}", "\x1b[36m{}\x1b[0m", "_{}"])
def test_tokens_by_their_look(token: str, frame: str) -> None:
    shown = NOTHING.text(frame.format(token))
    assert token not in shown
    assert token.lstrip("_")[4:] not in shown


@pytest.mark.parametrize(
    "text",
    [
        "INFO 11-23 12:00:00 [api_server.py:1] vLLM API server version 0.32.0",
        "Avg prompt throughput: 10.0 tokens/s, Running: 2 reqs, KV cache usage: 3.1%",
        "max_num_batched_tokens=8192 num_key_value_heads=8 eos_token_id=2 hf_overrides={} hf_token=None",
        "KeyError: 'lm_head.weight'",
        "hf_hub_download hf-transfer 0.1.9 task-A1234567 disk-1-of-20 sk-learn",
        "GET http://127.0.0.1:8000/v1/models@main 200 OK",
        "NEURON_RT_VISIBLE_CORES=0-3 PATH=/usr/bin:/bin NEURON_CC_FLAGS=--model-type transformer -O1",
        '{"model": "org/small", "tensor_parallel_size": 8}',
        "Filename: /home/me/model.safetensors (16.0 GiB)\n\tat line 3\r\n",
        "",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert NOTHING.text(text) == text


def test_what_follows_a_secret_stays() -> None:
    assert NOTHING.text(f"--api-key {PLANTED} --port 80") == f"--api-key {HIDDEN} --port 80"
    assert NOTHING.text(f'{{"api_key": "{PLANTED}", "n": 1}}') == f'{{"api_key": "{HIDDEN}", "n": 1}}'


def test_data_by_the_names_above_it_and_by_look() -> None:
    data = {
        "api_key": PLANTED,
        "hub": {"token": {"value": PLANTED, "number": 7, "found": True}},
        "list": [{"note": f"HF_TOKEN={PLANTED}"}, 3, None],
        "key": "nxdi-0123abcd",
        "findings": [{"id": "a.b", "key": "engine.max_model_len"}],
        "deep": {"key": PLANTED},
        f"sk-{PLANTED}": 1,
    }
    shown = json.dumps(NOTHING.data(data))
    assert PLANTED not in shown
    assert '"number": 7' not in shown
    assert '"found": true' in shown
    assert '"key": "nxdi-0123abcd"' in shown
    assert "engine.max_model_len" in shown


def test_a_place_is_read_as_text() -> None:
    shown = json.dumps(NOTHING.data({"key": HUB, "errors": [{"key": f"token={PLANTED}"}]}))
    assert HUB not in shown
    assert PLANTED not in shown


words = st.text(min_size=6, max_size=20)


@given(words, st.text(max_size=40), st.text(max_size=40))
@example("(hidden", "", "")
@example("hidden)a", "", "a")
@example('": "ab', '{"a', 'c"}')
@example("ab\ncdefgh", "", "")
def test_a_known_secret_never_stays(secret: str, before: str, after: str) -> None:
    redaction = Redaction([secret])
    assert secret not in redaction.text(before + secret + after)
    assert secret not in redaction.known(
        json.dumps(redaction.data({"a": [before + secret, {secret: after}]}))
    )


@given(words)
def test_a_known_secret_as_others_write_it(secret: str) -> None:
    redaction = Redaction([secret])
    for written in (json.dumps(secret)[1:-1], repr(secret)[1:-1]):
        assert written not in redaction.text(f"x {written} y")


def test_what_hides_one_secret_does_not_make_up_another() -> None:
    assert "=(hidden" not in Redaction(["=(hidden"]).text("token=abcdefgh")


def test_a_secret_of_several_lines_is_hidden_line_by_line() -> None:
    shown = Redaction([f"-----BEGIN\n{PLANTED}one\n{PLANTED}two\n"]).text(f"saw {PLANTED}two here")
    assert PLANTED not in shown
    assert "here" in shown


@given(st.text())
def test_any_text_can_be_redacted(text: str) -> None:
    NOTHING.text(text)


PIECES = (
    'a|a=b |hf_|A1b2|-----BEGIN PRIVATE KEY-----|-----END PRIVATE KEY-----|--a-|://a:|\\| |token="|eyJ|-eyJ|'
    "authorization|aws_session_token |sig=|(|'--a',|-----END |MIIabcMIIabc1234\n|--token |\x1b["
)


@pytest.mark.parametrize("piece", PIECES.split("|"))
def test_no_text_takes_long(piece: str) -> None:
    text = piece * (100_000 // len(piece))
    begun = time.perf_counter()
    NOTHING.text(text)
    assert time.perf_counter() - begun < 5


@pytest.mark.parametrize(
    "text",
    [
        '"argv":["--api-key","{}"]',
        '{{"name":"HF_TOKEN","value":"{}"}}',
        "VLLM_PASS={}",
        "MYSQL_PWD={}",
        "npm_{}",
        "ghu_{}",
        "('x-api-key', '{}')",
        "client_secret%3D{}",
        "curl -u me:{} http://x",
        "sshpass -p {} ssh",
        "the passphrase is {} today",
        'token: """{}"""',
        "api_keys:\n  - {}\n  - other\nport: 8000",
        "password: |\n  {}\nport: 8000",
    ],
)
def test_secrets_as_people_and_programs_write_them(text: str) -> None:
    secret = "Zx9secretQ7value"
    shown = Redaction(()).text(text.format(secret))
    assert secret not in shown
    if "port" in text:
        assert shown.endswith("port: 8000")


def test_secrets_in_command_lines_and_in_lists_of_variables() -> None:
    secret = "Zx9secretQ7value"
    data = {
        "argv": ["vllm", "--api-key", secret, "--port", "8000"],
        "env": [{"name": "HF_TOKEN", "value": secret}],
    }
    assert Redaction(()).data(data) == {
        "argv": ["vllm", "--api-key", "(hidden)", "--port", "8000"],
        "env": [{"name": "HF_TOKEN", "value": "(hidden)"}],
    }


def test_the_working_folder_is_no_secret() -> None:
    assert Redaction(()).text("PWD=/home/ubuntu\npasses: 3") == "PWD=/home/ubuntu\npasses: 3"
