"""What the hub's client raises, in plain words."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
)

from neuronctl.host import Host
from neuronctl.model.hub_error import Asked, asked_to_wait_s, in_plain_words, is_final, status_of

HUB = "https://hub.test"
PROXY = {"HTTPS_PROXY": "http://me:swordfish@proxy.test:3128"}
PROXY_SAYS = "HTTPS_PROXY=http://me:(hidden)@proxy.test:3128 does not let the request through"
PAST_PROXY = {**PROXY, "NO_PROXY": "localhost,.test"}


class ConnectError(Exception):
    """As httpx has it: no OSError, with the reason as its cause."""


class ProxyError(Exception):
    """What httpx raises where a proxy says no."""


class RequestsError(OSError):
    """As requests has it: an OSError without a number, with the reason in its arguments."""


def answered(status: int, kind: type[HfHubHTTPError] = HfHubHTTPError, **headers: str) -> HfHubHTTPError:
    """The error for an answer of the hub."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = SimpleNamespace(status_code=status, headers=named, request=None)
    return kind(f"{status} for url", response=response)  # type: ignore[arg-type]


def because(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def lost(cause: Exception) -> Exception:
    """A file that the client could not ask about."""
    return because(LocalEntryNotFoundError("An error happened while trying to locate the file"), cause)


def disk(number: int, filename: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), *([filename] if filename else []))


REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
NO_ADDRESS = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
NOT_TRUSTED = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")
NO_ASCII = UnicodeEncodeError("ascii", "hf_ünï", 4, 5, "ordinal not in range(128)")
NO_TLS = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")


@pytest.mark.parametrize(
    ("error", "environ", "said", "code"),
    [
        # The disk, whatever the network is like.
        (disk(errno.ENOSPC), {}, "no space is left on the disk of the hub's cache", "no-space"),
        (disk(errno.ENOSPC), PROXY, "no space is left on the disk of the hub's cache", "no-space"),
        (disk(errno.EDQUOT, "/c/blobs/x"), PROXY, "(Disk quota exceeded)", "no-space"),
        (disk(errno.EACCES, "/c/blobs"), PROXY, "/c/blobs cannot be written: Permission", "download-failed"),
        (disk(errno.ENOTDIR, "/a/file/hub"), {}, "/a/file/hub cannot be written: Not a d", "download-failed"),
        (disk(errno.ENOENT, "/proc/nope"), PROXY, "/proc/nope cannot be written: No such", "download-failed"),
        (disk(errno.EROFS, "/c"), {}, "/c cannot be written: Read-only", "download-failed"),
        (lost(disk(errno.EACCES, "/c/.locks")), {}, "/c/.locks cannot be written", "download-failed"),
        # The proxy.
        (because(ConnectError("x"), REFUSED), PROXY, PROXY_SAYS, "download-failed"),
        (because(ConnectError("x"), NO_ADDRESS), PROXY, PROXY_SAYS, "download-failed"),
        (lost(because(ConnectError("x"), REFUSED)), PROXY, PROXY_SAYS, "download-failed"),
        (
            RequestsError(REFUSED),
            {"all_proxy": "socks5://p:1"},
            "all_proxy=socks5://p:1 does",
            "download-failed",
        ),
        (ProxyError("403 Forbidden"), PROXY, PROXY_SAYS, "download-failed"),
        (ProxyError("403 Forbidden"), {}, "the proxy does not let the request through", "download-failed"),
        (
            because(ConnectError("x"), REFUSED),
            {"HTTP_PROXY": "http://p:1"},
            f"{HUB} refuses",
            "download-failed",
        ),
        (because(ConnectError("x"), REFUSED), PAST_PROXY, f"{HUB} refuses the conn", "download-failed"),
        (because(ConnectError("x"), NO_ADDRESS), PAST_PROXY, "no address is known", "download-failed"),
        (
            because(ConnectError("x"), REFUSED),
            {**PROXY, "no_proxy": "*"},
            f"{HUB} refuses",
            "download-failed",
        ),
        (OSError("Consistency check failed"), PROXY, "Consistency check failed", "download-failed"),
        # The line.
        (because(ConnectError("x"), REFUSED), {}, f"{HUB} refuses the connection", "download-failed"),
        (RequestsError(REFUSED), {}, f"{HUB} refuses the connection", "download-failed"),
        (because(ConnectError("x"), NO_ADDRESS), {}, f"no address is known for {HUB}", "download-failed"),
        (because(ConnectError("x"), disk(errno.EPERM)), {}, "x", "download-failed"),
        (TimeoutError("slow"), {}, f"{HUB} does not answer in time", "download-failed"),
        # TLS.
        (
            because(ConnectError("x"), NOT_TRUSTED),
            {},
            f"the certificate of {HUB} is signed by",
            "download-failed",
        ),
        (because(ConnectError("x"), NOT_TRUSTED), PROXY, "is signed by nobody", "download-failed"),
        (RequestsError(NO_TLS), {}, f"{HUB} does not speak TLS as it should", "download-failed"),
        # What the hub says.
        (answered(401), {}, "does not accept the token", "bad-token"),
        (answered(401), {"HF_TOKEN": "hf_ünï"}, "the token that is set cannot be one", "bad-token"),
        (NO_ASCII, {"HF_TOKEN": "hf_ünï"}, "the token that is set cannot be one", "bad-token"),
        (answered(401), {"HF_TOKEN": ""}, "read org/small without a token (401)", "bad-token"),
        (lost(answered(403)), {"HF_TOKEN": ""}, "org/small without a token (403)", "bad-token"),
        (answered(403, DisabledRepoError), {}, "org/small is disabled on the hub", "disabled"),
        (lost(answered(403, GatedRepoError)), {}, "is gated", "gated"),
        # Settings.
        (ValueError("x"), {"HF_ENDPOINT": "garbage"}, "HF_ENDPOINT=garbage is no address", "bad-setting"),
        (ValueError("x"), {"HF_ENDPOINT": "http://h:x"}, "HF_ENDPOINT=http://h:x is no", "bad-setting"),
        (
            ValueError("x"),
            {"ALL_PROXY": "ftp://u:swordfish@x"},
            "ALL_PROXY=ftp://u:(hidden)@x",
            "bad-setting",
        ),
        (disk(errno.ENOENT), {"SSL_CERT_FILE": "/nope"}, "SSL_CERT_FILE=/nope is not there", "bad-setting"),
        (because(ConnectError("x"), REFUSED), {"ALL_PROXY": "ftp://x"}, "not let the", "download-failed"),
        (ValueError("x"), {"HTTPS_PROXY": "proxy.test:3128"}, "x", "download-failed"),
        (answered(500), {"HF_ENDPOINT": "garbage"}, "(HTTP 500)", "download-failed"),
        (answered(403), PROXY, "has no right to read", "bad-token"),
        (answered(403, GatedRepoError), {}, "is gated", "gated"),
        (answered(429), {}, "too many requests (429)", "download-failed"),
        (answered(500), PROXY, f"{HUB} has a trouble of its own (HTTP 500)", "download-failed"),
        (lost(answered(504)), {}, f"{HUB} has a trouble of its own (HTTP 504)", "download-failed"),
        (lost(answered(403)), {}, "has no right to read", "bad-token"),
        (answered(418), {}, f"{HUB} answers with HTTP 418", "download-failed"),
    ],
    ids=lambda value: repr(value)[:50] if isinstance(value, Exception) else None,
)
def test_what_is_said(
    error: Exception, environ: dict[str, str], said: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The client reads this itself.
    monkeypatch.setenv("HF_TOKEN", environ.get("HF_TOKEN", "hf_of_a_reader"))
    host = Host(environ={"HF_ENDPOINT": HUB, **environ}, cwd=Path("/"))
    plain = in_plain_words(error, Asked("org/small", None), host)
    assert said in plain.what
    assert plain.error_code == f"model.{code}"
    assert plain.fix
    assert "swordfish" not in plain.what + plain.fix


def test_how_long_the_hub_asks_to_wait_is_told() -> None:
    host = Host(environ={}, cwd=Path("/"))
    plain = in_plain_words(answered(429, Retry_After="900"), Asked("org/small", None), host)
    assert "wait 900 s, as it asks" in (plain.fix or "")


@pytest.mark.parametrize(
    ("error", "final"),
    [
        (answered(404), True),
        (answered(408), False),
        (answered(429), False),
        (answered(503), False),
        (lost(answered(403)), True),
        (lost(answered(503)), False),
        (because(ConnectError("x"), REFUSED), False),
        (disk(errno.ENOSPC), True),
        (lost(disk(errno.EROFS, "/c")), True),
        (PermissionError(errno.EACCES, "Permission denied", "/c"), True),
        (because(ConnectError("x"), disk(errno.EPERM)), False),
        # Its number is that of EIO.
        (ssl.SSLError(ssl.SSL_ERROR_SYSCALL, "the line broke"), False),
        (OSError("Consistency check failed"), False),
        (ValueError("no address"), True),
    ],
)
def test_whether_asking_again_is_of_use(error: Exception, final: bool) -> None:
    assert is_final(error) is final


def test_a_limit_s_time_is_waited_too() -> None:
    assert asked_to_wait_s(answered(429, RateLimit='"api";r=0;t=20')) == 20.0
    assert asked_to_wait_s(answered(429, RateLimit='"api";r=0;t=20', Retry_After="5")) == 5.0
    assert asked_to_wait_s(answered(503, RateLimit='"api";r=9;t=20')) is None


def test_what_the_hub_said_is_found_behind_the_client_s_words() -> None:
    error = lost(answered(503, Retry_After="7"))
    assert (status_of(error), asked_to_wait_s(error)) == (503, 7.0)
    assert (status_of(ConnectError("x")), asked_to_wait_s(ConnectError("x"))) == (0, None)


@pytest.mark.parametrize(
    ("said", "wait_s"),
    [("30", 30.0), (" 5 ", 5.0), ("soon", None), ("", None), (formatdate(0, usegmt=True), 0.0)],
)
def test_retry_after_as_seconds_or_a_date(said: str, wait_s: float | None) -> None:
    assert asked_to_wait_s(answered(429, Retry_After=said)) == wait_s
