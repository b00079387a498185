"""What the hub's client raises, as errors that say what failed and what to type next."""

from __future__ import annotations

import difflib
import errno
import os
import re
import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from neuronctl.errors import ModelNotResolved
from neuronctl.host import Host

ENDPOINT = "https://huggingface.co"
_LOGIN = "set HF_TOKEN, or type: hf auth login"
_ELSEWHERE = "or download it elsewhere and copy the hub's cache here"
_CONNECTION = f"check the connection (HF_ENDPOINT, HTTPS_PROXY), {_ELSEWHERE}"
# What a disk answers for which waiting is no remedy.
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO}
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
# What the client takes for true (huggingface_hub/constants.py).
_TRUE = {"1", "ON", "YES", "TRUE"}


@dataclass(frozen=True)
class Asked:
    """What was asked of the hub: a repository, at a revision unless it is None."""

    repo_id: str
    revision: str | None

    def __str__(self) -> str:
        return self.repo_id + (f" at revision {self.revision}" if self.revision else "")


def endpoint_of(host: Host) -> str:
    """The hub's address: `HF_ENDPOINT`, else the public one."""
    return (host.environ.get("HF_ENDPOINT") or ENDPOINT).rstrip("/")


def offline_by(host: Host) -> str | None:
    """The variable that forbids to ask the hub, as `HF_HUB_OFFLINE=1`; None where none does."""
    for name in _OFFLINE:
        if host.environ.get(name, "").upper() in _TRUE:
            return f"{name}={host.environ[name]}"
    return None


def in_plain_words(error: Exception, asked: Asked, host: Host) -> ModelNotResolved:
    """The error for what the hub's client raised when it was asked."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, HFValidationError):
        return ModelNotResolved(
            f"model.id {asked.repo_id} is neither a folder here nor a possible hub id: {error}",
            fix="give org/name as the hub spells it, or a path beginning with / or ./",
            code="model.bad-id",
        )
    if isinstance(error, GatedRepoError):
        return _gated(asked, host)
    if isinstance(error, RevisionNotFoundError):
        return ModelNotResolved(
            f"{asked.repo_id} has no revision {asked.revision}",
            fix="set model.revision to a commit, tag or branch that the model's page lists",
            code="model.no-such-revision",
        )
    if isinstance(error, RepositoryNotFoundError):
        known = (
            "the token that is set does not open it" if _has_token() else "it is private and no token is set"
        )
        return ModelNotResolved(
            f"the hub knows no model {asked.repo_id}, or {known}",
            fix=f"check the spelling of model.id; for a private model {_LOGIN}",
            code="model.unknown",
        )
    status = status_of(error)
    if status == 401:
        return ModelNotResolved(
            f"the hub does not accept the token that is set, asked for {asked}",
            fix=f"{_LOGIN} (a token may have expired)",
            code="model.bad-token",
        )
    if status == 403:
        return ModelNotResolved(
            f"the token that is set has no right to read {asked}",
            fix="give the token the right to read this repository, on its page in the hub's settings",
            code="model.bad-token",
        )
    why, fix = _why_unreachable(error, status, host)
    return ModelNotResolved(f"cannot get {asked}: {why}", fix=fix, code="model.download-failed")


def is_final(error: Exception) -> bool:
    """Whether it is of no use to ask again: the hub has said no, or this machine's disk has."""
    status = status_of(error)
    if status:
        return 400 <= status < 500 and status not in (408, 429)
    return isinstance(error, OSError) and error.errno in _DISK


def asked_to_wait_s(error: Exception) -> float | None:
    """What the hub says in `Retry-After`, in seconds or as a date; None where it says nothing."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    said = headers.get("Retry-After")
    if said is None:
        return None
    if said.strip().isdigit():
        return float(said)
    from email.utils import parsedate_to_datetime

    with suppress(ValueError, TypeError):
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    return None


def status_of(error: Exception) -> int:
    """The status of the hub's answer; 0 where there was none."""
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError) and error.response is not None:
        return error.response.status_code
    return 0


def with_near_matches(error: ModelNotResolved, wanted: str, known: Iterable[str]) -> ModelNotResolved:
    """The same error, with the names that are spelt much like the one that is wanted."""
    by_lowered = {name.lower(): name for name in known if name != wanted}
    near = difflib.get_close_matches(wanted.lower(), by_lowered, n=3, cutoff=0.75)
    if not near:
        return error
    names = " or ".join(by_lowered[name] for name in near)
    return ModelNotResolved(error.what, fix=f"did you mean {names}? Else {error.fix}", code=error.error_code)


def _has_token() -> bool:
    from huggingface_hub import get_token

    return get_token() is not None


def _gated(asked: Asked, host: Host) -> ModelNotResolved:
    page = f"{endpoint_of(host)}/{asked.repo_id}"
    if _has_token():
        what = f"{asked} is gated, and the account of the token that is set has no access to it"
        fix = f"accept its licence on {page} with that account, and wait for approval where it is asked for"
    else:
        what = f"{asked} is gated, and no token is set"
        fix = f"accept its licence on {page}, then {_LOGIN}"
    return ModelNotResolved(what, fix=fix, code="model.gated")


def _why_unreachable(error: Exception, status: int, host: Host) -> tuple[str, str]:
    """Why there was no answer that is of use, and what to do."""
    hub = endpoint_of(host)
    proxy = next(
        (
            name
            for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy")
            if host.environ.get(name)
        ),
        None,
    )
    chain = list(_causes(error))
    text = " ".join(f"{type(one).__name__} {one}" for one in chain)
    if status == 429:
        return f"{hub} says that there were too many requests (429)", "wait some minutes, or set HF_TOKEN"
    if status >= 500:
        return f"{hub} has a trouble of its own (HTTP {status})", f"try again later, {_ELSEWHERE}"
    if status:
        return f"{hub} answers with HTTP {status}", f"check HF_ENDPOINT, {_ELSEWHERE}"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return (
            f"the certificate of {hub} is signed by nobody whom this machine trusts, as with some proxies",
            "set SSL_CERT_FILE and REQUESTS_CA_BUNDLE to a file with the company's certificate",
        )
    if any(isinstance(one, ssl.SSLError) for one in chain):
        return (
            f"{hub} does not speak TLS as it should",
            "check HF_ENDPOINT and HTTPS_PROXY (http:// or https://)",
        )
    if "ProxyError" in text or (proxy and any(isinstance(one, OSError) for one in chain)):
        named = f"{proxy}={_without_password(host.environ[proxy])}" if proxy else "the proxy"
        return f"{named} does not let the request through", f"check {proxy or 'HTTPS_PROXY'} and NO_PROXY"
    if re.search(r"gaierror|Name or service|name resolution|getaddrinfo", text):
        return (
            f"no address is known for {hub}: there is no network, no DNS, or HF_ENDPOINT is misspelt",
            _CONNECTION,
        )
    if any(isinstance(one, OSError) and one.errno == errno.ENOSPC for one in chain):
        return "no space is left on the disk of the hub's cache", "free some space, or set HF_HUB_CACHE"
    if refused := next((one for one in chain if isinstance(one, PermissionError)), None):
        return (
            f"{refused.filename or 'the hub cache'} cannot be written: {os.strerror(refused.errno or 0)}",
            "set HF_HUB_CACHE to a folder that this user can write",
        )
    if any("Timeout" in type(one).__name__ for one in chain):
        return (
            f"{hub} does not answer in time",
            f"check the connection (HF_ENDPOINT, HTTPS_PROXY), {_ELSEWHERE}",
        )
    if "refused" in text.lower():
        return f"{hub} refuses the connection", f"check HF_ENDPOINT and HTTPS_PROXY, {_ELSEWHERE}"
    reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return reason.strip(), _CONNECTION


def _without_password(text: str) -> str:
    from neuronctl.secret import hide_passwords

    return hide_passwords(text)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and what led to it; some of the libraries in between put it into their arguments."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = [one.__cause__, one.__context__, *one.args, getattr(one, "reason", None)]
        waiting += [thing for thing in inner if isinstance(thing, BaseException)]
