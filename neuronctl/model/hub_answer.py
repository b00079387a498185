"""The hub's answer to one small question, soon or not at all: for those who ask whether it can be reached.

Models are asked about in hub.py. Like there, used of the client is only what its versions 0.34 to 2.4 have
alike: its session, with its proxies and certificates, and what it makes of a bad answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import neuronctl
from neuronctl.host import Host
from neuronctl.model.hub_place import endpoint_of
from neuronctl.time_limit import TimeUp, within

TIMEOUT_S = 4.0


@dataclass(frozen=True)
class Answer:
    """What came back: the status, headers with names in lower case, and the body.

    `received_at` is this machine's time then, in seconds since the epoch.
    """

    status: int
    headers: Mapping[str, str]
    body: str
    received_at: float
    response: Any = field(repr=False, compare=False, default=None)

    @property
    def is_json(self) -> bool:
        """Whether it looks like an answer of the hub's API: a proxy's own page is HTML."""
        return "json" in self.headers.get("content-type", "")

    def data(self) -> dict[str, Any]:
        """The object that the body is; empty where it is none."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def raise_for_error(self) -> None:
        """Raise what the client raises for a bad answer."""
        from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]

        hf_raise_for_status(self.response)


def ask_hub(path: str, host: Host, *, token: str | None = None, timeout_s: float = TIMEOUT_S) -> Answer:
    """Send one GET for `path` (it begins with `/`), with `token` and with no other; its answer, good or bad.

    Raises what the client's HTTP library raises, and TimeoutError: `timeout_s` is for the whole, with the
    look for an address and with each address that is tried, for which the library has no limit.
    """
    # Imported by the caller's own thread: the time is for the hub.
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    headers = {"user-agent": f"neuronctl/{neuronctl.__version__}"}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"

    def ask() -> Answer:
        response: Any = get_session().get(endpoint_of(host) + path, headers=headers, timeout=timeout_s)
        told = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, told, response.text, host.now(), response)

    try:
        return within(timeout_s, ask)
    except TimeUp:
        raise TimeoutError(f"no answer in {timeout_s:g} s") from None
