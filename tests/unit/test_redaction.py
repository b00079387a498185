"""Secrets in the middle of logs, JSON and command lines, and ordinary text that must stay."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from neuronctl.redaction.redaction import Redaction
from neuronctl.secret import HIDDEN
from tests.planted import SHAPES

NOTHING = Redaction(())
PLANTED = "Zwordfish42Planted"
DATA = Path(__file__).parents[1] / "data"
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
        "the password must have 8 characters; kubectl get secret /var/run/secrets/token1 of api_key v1",
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


def test_ordinary_lines_of_a_log_stay() -> None:
    lines = (DATA / "ordinary.log").read_text().splitlines()
    assert len(lines) > 60
    assert [NOTHING.text(line) for line in lines] == lines
    assert NOTHING.text("\n".join(lines)).splitlines() == lines


@pytest.mark.parametrize("log", sorted((DATA / "logs").iterdir()), ids=lambda path: path.name)
def test_logs_of_servers_and_compilers_stay(log: Path) -> None:
    text = log.read_text(errors="replace")
    if "\x1b" not in text:
        assert NOTHING.text(text) == text


def in_log(text: str) -> str:
    return f"INFO 11-23 12:00:00 [core.py:58] {text}\nINFO 11-23 12:00:00 [core.py:59] done"


def behind_prefix(text: str) -> str:
    return "\n".join(f"(EngineCore pid=42) {line}" for line in text.split("\n"))


def deeper(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.split("\n"))


def with_carriage_returns(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\n", "\r\n")


def in_json_line(text: str) -> str:
    return json.dumps({"level": "info", "message": text})


def in_json_in_json(text: str) -> str:
    return json.dumps(in_json_line(text))


@pytest.mark.parametrize(
    "frame",
    [str, in_log, behind_prefix, deeper, with_carriage_returns, in_json_line, in_json_in_json, repr],
    ids=lambda frame: frame.__name__,
)
def test_nothing_planted_is_shown(frame: Callable[[str], str]) -> None:
    shown = {one.name: NOTHING.text(frame(one.text)) for one in SHAPES}
    leaks = [one.name for one in SHAPES if any(secret in shown[one.name] for secret in one.secrets)]
    assert leaks == []


def test_nothing_planted_is_shown_in_data() -> None:
    shown = {one.name: json.dumps(NOTHING.data({"a": [{one.text: one.text}]})) for one in SHAPES}
    leaks = [one.name for one in SHAPES if any(secret in shown[one.name] for secret in one.secrets)]
    assert leaks == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Server=db;Pwd=aB3dE5fG;Encrypt=yes", "Server=db;Pwd=(hidden);Encrypt=yes"),
        ("mysql -u root -paB3dE5fG --host db x", "mysql -u root -p(hidden) --host db x"),
        ("mount -o user=a,password=aB3dE5fG,uid=0", "mount -o user=a,password=(hidden),uid=0"),
        ("GET /v1?api_key=aB3dE5fG&n=1 200", "GET /v1?api_key=(hidden)&n=1 200"),
        ("Config(password='aB3dE5fG', port=1)", "Config(password='(hidden)', port=1)"),
        ('{"msg": "a\\nHF_TOKEN=aB3dE5fG\\nb"}', '{"msg": "a\\nHF_TOKEN=(hidden)\\nb"}'),
        ("<password>aB3dE5fG</password><n>1</n>", "<password>(hidden)</password><n>1</n>"),
        ("curl -u me:aB3dE5fG http://a/b", "curl -u me:(hidden) http://a/b"),
        ("docker run -e HF_TOKEN=aB3dE5fG -p 80:80 i", "docker run -e HF_TOKEN=(hidden) -p 80:80 i"),
        ("a:\n  password: |\n    aB3\n    dE5\n  port: 1\n", "a:\n  password: (hidden)\n  port: 1\n"),
    ],
)
def test_no_more_is_hidden_than_the_secret(text: str, shown: str) -> None:
    assert NOTHING.text(text) == shown


def test_a_command_line_in_data_is_read_as_one() -> None:
    words = ["mysql", "-uroot", "-paB3dE5fG", "--host", "db", "x y"]
    assert NOTHING.data(words) == ["mysql", "-uroot", "-p(hidden)", "--host", "db", "x y"]


def test_keys_of_artifacts_that_it_is_told_of_stay() -> None:
    key = "ad4c73aed1b50d2951ccfcbaba707eee"
    other = key[::-1]
    redaction = Redaction((), plain=[key])
    assert redaction.text(f"key: {key}, key={other}") == f"key: {key}, key={HIDDEN}"
    assert redaction.data({"deep": {"key": key, "api_key": other}}) == {
        "deep": {"key": key, "api_key": HIDDEN}
    }


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
    "authorization|aws_session_token |sig=|(|'--a',|-----END |MIIabcMIIabc1234\n|--token |\x1b[|"
    '\\"|"a\\|\'\\n|'
    'token: |token:\n |password\n|mysql -p|curl -u |sqlplus -a |<token>|name="a_key"\n|["|'
    "password [|a:5432:b:|"
    "(a) |\t|&quot;api_key&quot;: |echo a |password for a|%25|$6$|Authorization: a\n |a;b=|a.|jdbc:oracle:a:"
)


@pytest.mark.parametrize("piece", sorted({*PIECES.split("|"), "|"} - {""}))
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
