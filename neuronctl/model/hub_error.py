"""What the hub's client raises, as errors that say what failed and what to type next."""

from __future__ import annotations

import difflib
import errno
import os
import re
import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from neuronctl.errors import ModelNotResolved
from neuronctl.host import Host
from neuronctl.model.hub_place import endpoint_of, shown_endpoint
from neuronctl.model.hub_setting import find_bad_setting
from neuronctl.secret import hide_passwords

_LOGIN = "set HF_TOKEN, or type: hf auth login"
_ELSEWHERE = "or download it elsewhere and copy the hub's cache here"
_CONNECTION = f"check the connection (HF_ENDPOINT, HTTPS_PROXY), {_ELSEWHERE}"
_NO_HUB = "check HF_ENDPOINT; on a network with a login page, log in with a browser first"
# What a disk answers for which waiting is no remedy.
_FULL = {errno.ENOSPC, errno.EDQUOT}
# They are answered elsewhere too (by a firewall, for a certificate that is missing), but then for no file.
_OF_A_FILE = {
    errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ELOOP,
    errno.ENAMETOOLONG,
}  # fmt: skip
_DISK = {*_FULL, errno.EFBIG, errno.EROFS, errno.EIO, *_OF_A_FILE}
# What is left of a limit's time, in seconds: `RateLimit: "api";r=0;t=20`.
_RESET = re.compile(r";\s*t=(\d+)")
# Their numbers are those of libraries of their own.
_NO_DISK = (ssl.SSLError, ConnectionError, socket.gaierror, socket.herror)


@dataclass(frozen=True)
class Asked:
    """What was asked of the hub: a repository, at a revision unless it is None."""

    repo_id: str
    revision: str | None

    def __str__(self) -> str:
        return self.repo_id + (f" at revision {self.revision}" if self.revision else "")


def in_plain_words(error: Exception, asked: Asked, host: Host) -> ModelNotResolved:
    """The error for what the hub's client raised when it was asked."""
    from huggingface_hub.errors import (
        DisabledRepoError,
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
    if any(isinstance(one, GatedRepoError) for one in _causes(error)):
        return _gated(asked, host)
    if any(isinstance(one, DisabledRepoError) for one in _causes(error)):
        return ModelNotResolved(
            f"{asked.repo_id} is disabled on the hub, so nobody can fetch it",
            fix=f"see {shown_endpoint(host)}/{asked.repo_id} for the reason, and choose another model",
            code="model.disabled",
        )
    if isinstance(error, RevisionNotFoundError):
        return ModelNotResolved(
            f"{asked.repo_id} has no revision {asked.revision}",
            fix="give a commit, tag or branch that the model's page lists (model.revision, --revision)",
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
    if disk := _disk_error(error):
        return _of_disk(disk, asked)
    status = status_of(error)
    is_of_network = any(isinstance(one, ConnectionError | socket.gaierror) for one in _causes(error))
    if status in (0, 401) and not is_of_network and not _is_plain(_token()):
        return ModelNotResolved(
            "the token that is set cannot be one: it has characters that no token of the hub has",
            fix=_LOGIN,
            code="model.bad-token",
        )
    if status in (401, 403) and not _has_token():
        return ModelNotResolved(
            f"{shown_endpoint(host)} does not let anybody read {asked} without a token ({status})",
            fix=f"{_LOGIN}, or check HF_ENDPOINT",
            code="model.bad-token",
        )
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
    if not status and not is_of_network and (setting := find_bad_setting(host)) is not None:
        return setting
    why, fix = _why_unreachable(error, status, host)
    return ModelNotResolved(f"cannot get {asked}: {why}", fix=fix, code="model.download-failed")


def no_hub(host: Host) -> ModelNotResolved:
    """The error for an answer that no hub gives, as a network's login page sends it for whatever is asked."""
    return ModelNotResolved(
        f"what {shown_endpoint(host)} answers is no answer of a hub",
        fix=_NO_HUB,
        code="model.download-failed",
    )


def is_final(error: Exception) -> bool:
    """Whether it is of no use to ask again: the hub has said no, this machine's disk has, or it was no
    question at all.
    """
    if _disk_error(error) is not None or isinstance(error, ValueError):
        return True
    return 400 <= (status := status_of(error)) < 500 and status not in (408, 429)


def asked_to_wait_s(error: Exception) -> float | None:
    """What the hub says in `Retry-After`, in seconds or as a date, or for 429 in `RateLimit`; None where it
    says nothing.
    """
    said = next((value for one in _responses(error) if (value := one.headers.get("Retry-After"))), None)
    if said is None:
        limits = (one.headers.get("RateLimit") or "" for one in _responses(error) if one.status_code == 429)
        found = next((match for one in limits if (match := _RESET.search(one))), None)
        return float(found[1]) if found else None
    if said.strip().isdigit():
        return float(said)
    from email.utils import parsedate_to_datetime

    with suppress(ValueError, TypeError):
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    return None


def status_of(error: Exception) -> int:
    """The status of the hub's answer; 0 where there was none."""
    return next((int(one.status_code) for one in _responses(error)), 0)


def _responses(error: Exception) -> Iterator[Any]:
    """The hub's answers that led to an error, the last first.

    A file that the client cannot ask about is a LocalEntryNotFoundError, which has the hub's answer as its
    cause (huggingface_hub 2.4.0 and 0.36.2, file_download.py, `_raise_on_head_call_error`).
    """
    from huggingface_hub.errors import HfHubHTTPError

    for one in _causes(error):
        if isinstance(one, HfHubHTTPError) and one.response is not None:
            yield one.response


def _disk_error(error: Exception) -> OSError | None:
    """What this machine's disk said, where that is the reason."""
    for one in _causes(error):
        if not isinstance(one, OSError) or isinstance(one, _NO_DISK) or one.errno not in _DISK:
            continue
        if one.errno not in _OF_A_FILE or one.filename is not None:
            return one
    return None


def _of_disk(error: OSError, asked: Asked) -> ModelNotResolved:
    number = error.errno or 0
    if number in _FULL:
        return ModelNotResolved(
            f"cannot get {asked}: no space is left on the disk of the hub's cache ({os.strerror(number)})",
            fix="free some space, or set HF_HOME to a folder on a larger disk",
            code="model.no-space",
        )
    return ModelNotResolved(
        f"cannot get {asked}: {error.filename or 'the hub cache'} cannot be written: {os.strerror(number)}",
        fix="set HF_HOME or HF_HUB_CACHE to a folder that this user can write",
        code="model.download-failed",
    )


def with_near_matches(error: ModelNotResolved, wanted: str, known: Iterable[str]) -> ModelNotResolved:
    """The same error, with the names that are spelt much like the one that is wanted."""
    by_lowered = {name.lower(): name for name in known if name != wanted}
    near = difflib.get_close_matches(wanted.lower(), by_lowered, n=3, cutoff=0.75)
    if not near:
        return error
    names = " or ".join(by_lowered[name] for name in near)
    return ModelNotResolved(error.what, fix=f"did you mean {names}? Else {error.fix}", code=error.error_code)


def _has_token() -> bool:
    return _token() is not None


def _token() -> str | None:
    from huggingface_hub import get_token

    return get_token()


def _is_plain(token: str | None) -> bool:
    """Whether a token can be in a header, as far as its characters go."""
    return token is None or (token.isascii() and token.isprintable())


def _gated(asked: Asked, host: Host) -> ModelNotResolved:
    page = f"{shown_endpoint(host)}/{asked.repo_id}"
    if _has_token():
        what = f"{asked} is gated, and the account of the token that is set has no access to it"
        fix = f"accept its licence on {page} with that account, and wait for approval where it is asked for"
    else:
        what = f"{asked} is gated, and no token is set"
        fix = f"accept its licence on {page}, then {_LOGIN}"
    return ModelNotResolved(what, fix=fix, code="model.gated")


def _why_unreachable(error: Exception, status: int, host: Host) -> tuple[str, str]:
    """Why there was no answer that is of use, and what to do."""
    hub = shown_endpoint(host)
    chain = list(_causes(error))
    text = " ".join(f"{type(one).__name__} {one}" for one in chain)
    if status == 429:
        asked_s = asked_to_wait_s(error)
        wait = f"wait {asked_s:.0f} s, as it asks" if asked_s else "wait some minutes"
        return f"{hub} says that there were too many requests (429)", f"{wait}, or set HF_TOKEN"
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
    proxy = _proxy_of(endpoint_of(host), host)
    is_connection = any(isinstance(one, ConnectionError | socket.gaierror) for one in chain)
    if "ProxyError" in text or (proxy and is_connection):
        named = f"{proxy}={hide_passwords(host.environ[proxy])}" if proxy else "the proxy"
        return f"{named} does not let the request through", f"check {proxy or 'HTTPS_PROXY'} and NO_PROXY"
    if re.search(r"gaierror|Name or service|name resolution|getaddrinfo", text):
        return (
            f"no address is known for {hub}: there is no network, no DNS, or HF_ENDPOINT is misspelt",
            _CONNECTION,
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


def _proxy_of(address: str, host: Host) -> str | None:
    """The variable that names the proxy which an address is reached through; None where there is none."""
    from urllib.parse import urlsplit
    from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

    scheme, netloc = urlsplit(address)[:2]
    names = (f"{scheme}_proxy", f"{scheme.upper()}_PROXY", "all_proxy", "ALL_PROXY")
    name = next((one for one in names if host.environ.get(one)), None)
    no_proxy = host.environ.get("no_proxy") or host.environ.get("NO_PROXY") or ""
    return None if name is None or proxy_bypass_environment(netloc, {"no": no_proxy}) else name


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
