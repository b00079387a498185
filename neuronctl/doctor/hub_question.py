"""A small question to the hub, as checks ask it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neuronctl.doctor.check import NotHere
from neuronctl.errors import ModelNotResolved
from neuronctl.host import Host
from neuronctl.model.hub_error import Asked, in_plain_words
from neuronctl.model.hub_place import offline_by
from neuronctl.model.hub_setting import check_importable

if TYPE_CHECKING:
    from neuronctl.model.hub_answer import Answer

# What a check may take that asks once, and one that asks for several models: a question has 4 s, and the rest
# is for loading the client from a slow disk.
ONE_QUESTION_S = 7.0
QUESTIONS_S = 15.0
# A page of one model, open to everybody.
SMALL_QUESTION = "/api/models?limit=1"


def demand_online(host: Host) -> None:
    """Raise NotHere where the hub must not be asked."""
    if variable := offline_by(host):
        raise NotHere(f"{variable} forbids to ask the hub")


def ask(path: str, host: Host, *, token: str | None = None) -> Answer:
    """The hub's answer; see model/hub_answer.py. The client is loaded only now: it takes half a second."""
    check_importable(host)
    from neuronctl.model import hub_answer

    return hub_answer.ask_hub(path, host, token=token)


def why_no_answer(error: Exception, host: Host) -> ModelNotResolved:
    """What `ask` raised, in words."""
    if isinstance(error, ModelNotResolved):
        return error
    return in_plain_words(error, Asked("an answer of the hub", None), host)
