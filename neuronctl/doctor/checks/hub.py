"""Checks of the hub that models come from: is it reached, whose is the token, may the model be had."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from neuronctl.doctor.check import CannotTell, NotHere, Seen, Trouble, check
from neuronctl.doctor.facts import Facts
from neuronctl.errors import Exit, ModelNotResolved, NeuronctlError, Place
from neuronctl.host import Host
from neuronctl.model.hub_error import Asked, in_plain_words
from neuronctl.model.hub_place import endpoint_of, offline_by
from neuronctl.result import Finding

if TYPE_CHECKING:
    from neuronctl.model.hub_answer import Answer

# Each question has 4 s; the rest is for loading the client on a slow disk.
_ONE_S = 7.0
_SEVERAL_S = 15.0
_CLIENT = "huggingface_hub 0.36.2 and 2.4.0"
# A page of one model, open to everybody.
_SMALL_QUESTION = "/api/models?limit=1"
_AN_ANSWER = Asked("an answer of the hub", None)
_TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")

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
    timeout_s=_ONE_S,
)
def hub(facts: Facts) -> Seen:
    """One small question to HF_ENDPOINT, else to huggingface.co, by the client's proxies and certificates.

    An answer that is not JSON is not the hub's: it is the page of a proxy or of a login. It matters as long
    as a model is not on this machine. With HF_HUB_OFFLINE the hub is not asked, by anybody.
    """
    host = facts.host
    _not_offline(host)
    endpoint = endpoint_of(host)
    begun = host.monotonic()
    try:
        answer = _ask(_SMALL_QUESTION, host)
        took_ms = (host.monotonic() - begun) * 1000
        if answer.status == 429 or answer.status >= 500:
            answer.raise_for_error()
    except Exception as error:  # the client lets errors of its HTTP library through, which differ by version
        plain = in_plain_words(error, _AN_ANSWER, host)
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
    data: dict[str, object] = {"endpoint": endpoint_of(facts.host), "reachable": False}
    try:
        missing = [one.repo_id for one in _wanted(facts) if not one.here]
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
    timeout_s=_ONE_S,
)
def token(facts: Facts) -> Seen:
    """The token that the client would send, from HF_TOKEN or from `hf auth login`, and whose it is.

    The hub is asked for the name of its account. The token itself is never shown, nor a part of it.
    """
    host = facts.host
    _not_offline(host)
    found = _find_token(host)
    if found is None:
        return Seen("none is set: public models only", data={"set": False})
    data: dict[str, object] = {"set": True, "from": found.source}
    if not found.is_possible:
        return _bad_token(
            host, found, f"the token in {found.source} holds a space, or letters that no token has", data
        )
    try:
        answer = _ask("/api/whoami-v2", host, token=found.text)
    except Exception as error:
        raise CannotTell(_no_answer(error, host)) from None
    if answer.status == 401:
        return _bad_token(host, found, f"the hub does not accept the token in {found.source}", data)
    account = answer.data().get("name") if answer.status == 200 else None
    if not isinstance(account, str):
        raise CannotTell(f"{endpoint_of(host)} answers with HTTP {answer.status} to whose it is")
    data |= {"valid": True, "account": account}
    return Seen(f"{account}'s, from {found.source}", data=data)


def _bad_token(host: Host, found: _Token, what: str, data: dict[str, object]) -> Seen:
    fix = f"set {found.source} to one that is valid" if found.is_variable else "hf auth login --force"
    if found.is_variable and _token_file().is_file():
        fix += f"; or unset {found.source}: then that of hf auth login is used"
    finding = BAD_TOKEN(f"{what}: with it even public models are refused", fix=fix)
    return Seen("it is not accepted", (finding,), data={**data, "valid": False})


CLOCK = Trouble(
    "machine.clock-off",
    "warning",
    "The clock of this machine differs from the hub's by more than five minutes: certificates and tokens "
    "seem too old or too new, and AWS refuses what is signed more than some minutes ago.",
    "https://aws.amazon.com/blogs/developer/clock-skew-correction/ (15 minutes); "
    "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_aws-signing.html (five, as it is quoted)",
)
_CLOCK_LIMIT_S = 300.0
_CLOCK_FIX = (
    "see whether the time is synchronized: timedatectl; then sudo chronyc makestep, or sudo timedatectl "
    "set-ntp true (a container has the clock of its host)"
)


@check("clock", "Whether this machine's clock is right", finds=(CLOCK,), asks="network", timeout_s=_ONE_S)
def clock(facts: Facts) -> Seen:
    """This machine's time against the Date of an answer of the hub.

    A cache between here and the hub says by Age how old its answer is, which is added (RFC 9111). Where no
    answer comes because the hub's certificate is not valid yet, the clock is the likely reason.
    """
    host = facts.host
    _not_offline(host)
    try:
        answer = _ask(_SMALL_QUESTION, host)
    except Exception as error:
        if "certificate is not yet valid" in _all_words(error):
            now = time.strftime("%Y-%m-%d %H:%M", time.gmtime(host.now()))
            what = f"at {now} UTC, its time here, the certificate of {endpoint_of(host)} is not valid yet"
            return Seen(f"{now} UTC, likely wrong", (CLOCK(what, fix=_CLOCK_FIX),))
        raise CannotTell(_no_answer(error, host)) from None
    theirs = _time_of(answer.headers)
    if theirs is None:
        raise CannotTell(f"{endpoint_of(host)} does not say what time it is")
    return _compare(answer.received_at - theirs)


def _compare(ahead_s: float) -> Seen:
    """What to say of a clock that is so many seconds ahead of the hub's."""
    data: dict[str, object] = {"ahead_s": round(ahead_s)}
    if abs(ahead_s) <= _CLOCK_LIMIT_S:
        return Seen(f"within {max(1, round(abs(ahead_s)))} s of the hub's", data=data)
    which = "ahead of" if ahead_s > 0 else "behind"
    says = f"{_duration(abs(ahead_s))} {which} the hub's"
    return Seen(says, (CLOCK(f"this machine's clock is {says}", fix=_CLOCK_FIX),), data=data)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} minutes"
    return f"{minutes // 60} hours" if minutes < 48 * 60 else f"{minutes // (24 * 60)} days"


def _time_of(headers: Mapping[str, str]) -> float | None:
    """When an answer came, by whoever sent it, in seconds since the epoch."""
    try:
        date = parsedate_to_datetime(headers.get("date", "")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    age = headers.get("age", "").strip()
    return date + (int(age) if age.isascii() and age.isdecimal() else 0)


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
    timeout_s=_SEVERAL_S,
)
def access(facts: Facts) -> Seen:
    """The model, the draft and the adapters of the profile that are not on this machine: may they be had.

    The hub is asked whether the files may be read: what a gated model is and which files it has, it tells to
    everybody. Whether the revision is there shows when the plan is made.
    """
    host = facts.host
    if facts.request is None:
        raise NotHere("no profile was named")
    _not_offline(host)
    try:
        wanted = _wanted(facts)
    except NeuronctlError:
        raise CannotTell("the profile cannot be read") from None
    if not wanted:
        raise NotHere("the profile's model does not come from the hub")
    asked = [one for one in wanted if not one.here]
    if not asked:
        raise NotHere("all that the profile names is on this machine")
    found = _find_token(host)
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


def _refusal(wanted: _Wanted, secret: str | None, host: Host) -> Finding | None:
    """Why one of them may not be had. Raises CannotTell where the hub has not said so."""
    asked = Asked(wanted.repo_id, None)
    try:
        path = f"/api/models/{quote(wanted.repo_id)}/auth-check"
        _ask(path, host, token=secret).raise_for_error()
    except Exception as error:
        plain = in_plain_words(error, asked, host)
        if plain.error_code == "model.download-failed":
            raise CannotTell(plain.what) from None
        return NO_ACCESS(plain.what, fix=plain.fix, place=Place(key=wanted.key))
    return None


@dataclass(frozen=True)
class _Wanted:
    """A repository that the profile names at `key`, and whether its files are on this machine."""

    key: str
    repo_id: str
    here: bool


def _wanted(facts: Facts) -> tuple[_Wanted, ...]:
    """All of the hub that the profile names; none without a profile. Raises what the profile raises."""
    return tuple(_each_wanted(facts))


def _each_wanted(facts: Facts) -> Iterator[_Wanted]:
    from neuronctl.model.resolve import is_hub_id

    profile, host = facts.profile(), facts.host
    if profile is None:
        return
    model, features = profile.shape.model, profile.shape.features
    named = [("model.id", model.id, model.revision, False)]
    if features.speculative.model is not None:
        named.append(("features.speculative.model", features.speculative.model, None, False))
    named += [
        (f"features.lora.adapters.{name}", said, None, True) for name, said in features.lora.adapters.items()
    ]
    for key, said, revision, is_adapter in named:
        if is_hub_id(said, host):
            yield _Wanted(key, said, _is_here(said, revision, host, is_adapter=is_adapter))


def _is_here(repo_id: str, revision: str | None, host: Host, *, is_adapter: bool) -> bool:
    from neuronctl.model.hub_model import find_snapshot
    from neuronctl.model.selection import ADAPTER_CONFIG
    from neuronctl.model.weights import weights_missing

    try:
        if is_adapter:
            snapshot = find_snapshot(repo_id, revision, host, ADAPTER_CONFIG)
            return snapshot is not None and any(snapshot.glob("adapter_model.*"))
        snapshot = find_snapshot(repo_id, revision, host)
        return snapshot is not None and weights_missing(snapshot) is None
    except ModelNotResolved:  # no possible id, or a broken index
        return False


@dataclass(frozen=True)
class _Token:
    """The token that the client sends, and where it was found: a variable, or a file."""

    text: str
    source: str
    is_variable: bool

    def __repr__(self) -> str:
        return f"_Token(from {self.source})"

    @property
    def is_possible(self) -> bool:
        """Whether it can be sent in a header: libraries quote one that cannot in their errors."""
        return self.text.isascii() and self.text.isprintable() and " " not in self.text


def _find_token(host: Host) -> _Token | None:
    """The token that the client finds, and where. Raises CannotTell."""
    from huggingface_hub import get_token

    try:
        text = get_token()
    except OSError as error:
        raise CannotTell(f"{error.filename or 'the token'} cannot be read: {error.strerror}") from None
    except Exception as error:  # its words may quote what it read
        raise CannotTell(f"the hub's client cannot get one ({type(error).__name__})") from None
    if text is None:
        return None
    for variable in _TOKEN_VARIABLES:
        if text == _clean(host.environ.get(variable, "")):
            return _Token(text, variable, is_variable=True)
    if host.environ.get("HF_OIDC_RESOURCE"):
        return _Token(text, "HF_OIDC_RESOURCE", is_variable=True)
    return _Token(text, str(_token_file()), is_variable=False)


def _clean(text: str) -> str:
    """As the client cleans what it finds (utils/_auth.py, _clean_token)."""
    return text.replace("\r", "").replace("\n", "").strip()


def _token_file() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_TOKEN_PATH)


def _not_offline(host: Host) -> None:
    """Raise NotHere where the hub must not be asked."""
    if variable := offline_by(host):
        raise NotHere(f"{variable} forbids to ask the hub")


def _ask(path: str, host: Host, *, token: str | None = None) -> Answer:
    from neuronctl.model.hub_answer import ask_hub

    return ask_hub(path, host, token=token)


def _no_answer(error: Exception, host: Host) -> str:
    return in_plain_words(error, _AN_ANSWER, host).what


def _all_words(error: BaseException) -> str:
    """The words of an error and of what led to it."""
    words, seen = [], set[int]()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        words.append(str(one))
        one = one.__cause__ or one.__context__
    return " ".join(words)


CHECKS = (hub, token, clock, access)
