"""Checks of the hub that models come from: is it reached, whose is the token, may the model be had."""

from __future__ import annotations

import os
from contextlib import suppress
from urllib.parse import quote

from neuronctl.doctor.check import CannotTell, NotHere, Seen, Trouble, check
from neuronctl.doctor.facts import Facts
from neuronctl.doctor.hub_question import (
    ONE_QUESTION_S,
    QUESTIONS_S,
    SMALL_QUESTION,
    ask,
    demand_online,
    why_no_answer,
)
from neuronctl.doctor.wanted import Wanted, find_wanted
from neuronctl.errors import Exit, ModelNotResolved, NeuronctlError, Place, UsageError
from neuronctl.host import Host
from neuronctl.model.hub_error import Asked, in_plain_words
from neuronctl.model.hub_place import shown_endpoint, token_file
from neuronctl.model.hub_token import HubToken, find_token
from neuronctl.result import Finding

_CLIENT = "huggingface_hub 0.36.2 and 2.4.0"

UNREACHABLE = Trouble(
    "hub.unreachable",
    "warning",
    "The hub cannot be reached: only models that are on this machine can be served.",
    f"{_CLIENT} (what it raises: neuronctl/model/hub_error.py)",
)
MODEL_UNREACHABLE = Trouble(
    "hub.model-unreachable",
    "error",
    "The hub cannot be reached, and something that the profile names is not on this machine.",
    f"{_CLIENT} (what it raises: neuronctl/model/hub_error.py)",
)


@check(
    "hub",
    "Whether the hub answers",
    finds=(UNREACHABLE, MODEL_UNREACHABLE),
    exit_code=Exit.MODEL_NOT_RESOLVED,
    asks="network",
    timeout_s=ONE_QUESTION_S,
)
def hub(facts: Facts) -> Seen:
    """One small question to HF_ENDPOINT, else to huggingface.co, by the client's proxies and certificates.

    An answer that is not JSON is not the hub's: it is the page of a proxy or of a login. It matters as long
    as a model is not on this machine. With HF_HUB_OFFLINE the hub is not asked, by anybody.
    """
    host = facts.host
    demand_online(host)
    endpoint = shown_endpoint(host)
    begun = host.monotonic()
    try:
        answer = ask(SMALL_QUESTION, host)
        took_ms = (host.monotonic() - begun) * 1000
        if answer.status == 429 or answer.status >= 500:
            answer.raise_for_error()
    except Exception as error:  # the client lets errors of its HTTP library through, which differ by version
        plain = why_no_answer(error, host)
        return _unreachable(facts, plain.what, plain.fix)
    if not answer.is_json:
        kind = answer.headers.get("content-type", "of no type").partition(";")[0][:40]
        return _unreachable(
            facts,
            f"what answers at {endpoint} is not the hub (HTTP {answer.status}, {kind}): a proxy, or a page "
            "to log in to the network",
            "check HF_ENDPOINT, HTTPS_PROXY and NO_PROXY",
        )
    data: dict[str, object] = {"endpoint": endpoint, "reachable": True, "took_ms": round(took_ms)}
    return Seen(f"{endpoint} answers in {took_ms:.0f} ms", data=data)


def _unreachable(facts: Facts, what: str, fix: str | None) -> Seen:
    data: dict[str, object] = {"endpoint": shown_endpoint(facts.host), "reachable": False}
    try:
        missing = [one.repo_id for one in find_wanted(facts) if not one.here]
    except NeuronctlError:  # the check of the profile says so
        missing = []
    if not missing:
        return Seen("it cannot be reached", (UNREACHABLE(what, fix=fix),), data=data)
    data["missing"] = missing
    are = "is" if len(missing) == 1 else "are"
    finding = MODEL_UNREACHABLE(f"{what}; {', '.join(missing)} {are} not on this machine", fix=fix)
    return Seen("it cannot be reached", (finding,), data=data)


BAD_TOKEN = Trouble(
    "hub.bad-token",
    "warning",
    "The hub does not accept the token, which is sent with every question: even public models are refused.",
    "huggingface_hub 2.4.0, utils/_http.py (hf_raise_for_status: 401 for invalid credentials)",
)


@check(
    "hub token",
    "Whose token for the hub is set",
    finds=(BAD_TOKEN,),
    exit_code=Exit.MODEL_NOT_RESOLVED,
    asks="network",
    timeout_s=ONE_QUESTION_S,
)
def token(facts: Facts) -> Seen:
    """The token that the client would send, from HF_TOKEN or from `hf auth login`, and whose it is.

    The hub is asked for the name of its account. The token itself is never shown, nor a part of it.
    """
    host = facts.host
    demand_online(host)
    found = _token_of(host)
    if found is None:
        return Seen("none is set: public models only", data={"set": False})
    data: dict[str, object] = {"set": True, "from": found.source}
    if not found.is_possible:
        return _bad_token(
            host, found, f"the token in {found.source} holds a space, or letters that no token has", data
        )
    try:
        answer = ask("/api/whoami-v2", host, token=found.text)
    except Exception as error:
        raise CannotTell(why_no_answer(error, host).what, told_by="hub") from None
    if answer.status == 401:
        return _bad_token(host, found, f"the hub does not accept the token in {found.source}", data)
    account = answer.data().get("name") if answer.status == 200 else None
    if not isinstance(account, str):
        raise CannotTell(f"{shown_endpoint(host)} answers with HTTP {answer.status} to whose it is")
    data |= {"valid": True, "account": account}
    return Seen(f"{account}'s, from {found.source}", data=data)


def _bad_token(host: Host, found: HubToken, what: str, data: dict[str, object]) -> Seen:
    fix = f"set {found.source} to one that is valid" if found.is_variable else "hf auth login --force"
    with suppress(UsageError):  # a user without a home folder has no such file
        if found.is_variable and os.path.isfile(token_file(host)):
            fix += f"; or unset {found.source}: then that of hf auth login is used"
    finding = BAD_TOKEN(f"{what}: with it even public models are refused", fix=fix)
    return Seen("it is not accepted", (finding,), data={**data, "valid": False})


NO_ACCESS = Trouble(
    "hub.no-access",
    "error",
    "The hub does not let the profile's model, its draft or an adapter go to this user.",
    f"{_CLIENT} (HfApi.auth_check); sdk:vllm-neuron/docs/getting-started/setup-guide.md:36-37",
)


@check(
    "hub access",
    "Whether the profile's model may be downloaded",
    finds=(NO_ACCESS,),
    exit_code=Exit.MODEL_NOT_RESOLVED,
    asks="network",
    timeout_s=QUESTIONS_S,
    needs_profile=True,
)
def access(facts: Facts) -> Seen:
    """The model, the draft and the adapters of the profile that are not on this machine: may they be had.

    The hub is asked whether the files may be read: what a gated model is and which files it has, it tells to
    everybody. Whether the revision is there shows when the plan is made.
    """
    host = facts.host
    if facts.request is None:
        raise NotHere("no profile was named")
    demand_online(host)
    try:
        wanted = find_wanted(facts)
    except NeuronctlError:
        raise CannotTell("the profile cannot be read", told_by="profile") from None
    if not wanted:
        raise NotHere("the profile's model does not come from the hub")
    asked = [one for one in wanted if not one.here]
    if not asked:
        raise NotHere("all that the profile names is on this machine")
    found = _token_of(host)
    secret = found.text if found is not None and found.is_possible else None
    findings = tuple(finding for one in asked if (finding := _refusal(one, secret, host)))
    names = ", ".join(one.repo_id for one in asked)
    data: dict[str, object] = {
        "asked": [one.repo_id for one in asked],
        "refused": [finding.place.key for finding in findings if finding.place],
    }
    if not findings:
        return Seen(f"{names} may be downloaded", data=data)
    return Seen(f"{len(findings)} of {len(asked)} may not be downloaded", findings, data=data)


def _refusal(wanted: Wanted, secret: str | None, host: Host) -> Finding | None:
    """Why one of them may not be had. Raises CannotTell where the hub has not said so."""
    asked = Asked(wanted.repo_id, None)
    try:
        path = f"/api/models/{quote(wanted.repo_id)}/auth-check"
        ask(path, host, token=secret).raise_for_error()
    except Exception as error:
        plain = in_plain_words(error, asked, host)
        if plain.error_code == "model.download-failed":
            raise CannotTell(plain.what, told_by="hub") from None
        return NO_ACCESS(plain.what, fix=plain.fix, place=Place(key=wanted.key))
    return None


def _token_of(host: Host) -> HubToken | None:
    """The token that the client would send. Raises CannotTell."""
    try:
        return find_token(host)
    except ModelNotResolved as error:
        raise CannotTell(error.what) from None


CHECKS = (hub, token, access)
