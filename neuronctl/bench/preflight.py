"""Preflight: whether a server answers, with this model and this key, asked before anything is measured."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from neuronctl.errors import NeuronctlError, ServerNotReady, UsageError
from neuronctl.host import Host
from neuronctl.profile.suggest import nearest_word

_PATIENCE_S = 10.0


def base_url(said: str) -> str:
    """The server's URL without a path, whatever of `/v1` was typed. Raises UsageError for what is none.

    What stands before an @ or behind a ? may be a secret, and is not shown.
    """
    text = said if "://" in said else f"http://{said}"
    try:
        parts = urlsplit(text)
        odd = parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0
    except ValueError:
        odd = True
    if "@" in (said if odd else parts.netloc):
        raise UsageError(
            f"--url …@{said.rpartition('@')[2]} names a user: the OpenAI API knows keys",
            fix="export OPENAI_API_KEY=…, and leave what stands before the @ out of --url",
            code="bench.bad-url",
        )
    if odd or parts.query or parts.fragment:
        address, query, _ = said.partition("?")
        raise UsageError(
            f"--url {address}{query and '?…'} is no address of a server",
            fix="--url http://127.0.0.1:8000",
            code="bench.bad-url",
        )
    path = parts.path.rstrip("/").removesuffix("/v1")
    return f"{parts.scheme}://{parts.netloc}{path}"


def check_server(url: str, model: str, key: str | None, host: Host, *, key_variable: str) -> str | None:
    """Ask what it serves; the version of vLLM that it says it is, None where it does not say.

    Raises ServerNotReady where nobody answers, and UsageError for another model's name or a missing key.
    """
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    answer = host.http("GET", f"{url}/v1/models", headers=headers, timeout_s=_PATIENCE_S)
    if answer.status == 0:
        raise ServerNotReady(
            f"{url} does not answer: {answer.body[:200]}",
            fix="start it (neuronctl serve), or name another with --url",
            code="bench.unreachable",
        )
    if answer.status in (401, 403):
        raise _wrong_key(url, answer.status, key, key_variable)
    served = _served(answer.body) if answer.status == 200 else None
    if served is None:
        raise ServerNotReady(
            f"{url}/v1/models answered {answer.status}, and no list of models: is it an OpenAI server?",
            fix="--url is the server's address without a path, such as http://127.0.0.1:8000",
            code="bench.no-openai-server",
        )
    if served and model not in served:
        near = nearest_word(model, served) or served[0]
        raise UsageError(
            f"{url} does not serve {model!r}; it serves {', '.join(served[:5])}",
            fix=f"--model {near}",
            code="bench.wrong-model",
        )
    return _version(url, host)


def _wrong_key(url: str, status: int, key: str | None, variable: str) -> NeuronctlError:
    what = "does not accept the API key" if key else "wants an API key"
    return UsageError(
        f"{url} {what} (HTTP {status})",
        fix=f"export {variable}=…  (the key that the server was started with)",
        code="bench.api-key",
    )


def _served(body: str) -> list[str] | None:
    try:
        return [str(one["id"]) for one in json.loads(body)["data"]]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None


def _version(url: str, host: Host) -> str | None:
    answer = host.http("GET", f"{url}/version", timeout_s=_PATIENCE_S)
    try:
        version = json.loads(answer.body)["version"] if answer.status == 200 else None
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return version if isinstance(version, str) else None
