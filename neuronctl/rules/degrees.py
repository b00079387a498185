"""Which tensor parallel sizes to advise: those at which the heads divide and the model fits."""

from __future__ import annotations

from collections.abc import Sequence

from neuronctl.rules.situation import Situation


def documented_degrees(situation: Situation) -> tuple[int, ...]:
    """The degrees that AWS lists for the instance; none where there is no list for this LNC."""
    instance, outlook = situation.machine.instance, situation.outlook
    if instance is None or outlook is None or outlook.lnc != instance.lnc_default:
        return ()
    return instance.tp_degrees or ()


def good_degrees(situation: Situation) -> str | None:
    """The degrees that divide the heads and fit, in words; None where none does, or where that is not known.

    Where no documented one does, the smallest of the others, with a word about it.
    """
    outlook, instance = situation.outlook, situation.machine.instance
    if outlook is None or instance is None or not outlook.degrees:
        return None
    listed, degrees = documented_degrees(situation), outlook.degrees
    if listed and degrees[0] not in listed:
        return (
            f"{degrees[0]} (not documented for {instance.name}: no documented one divides the heads and fits)"
        )
    return in_words(degrees)


def in_words(degrees: Sequence[int]) -> str:
    """One or more degrees, as a sentence lists them."""
    words = [str(degree) for degree in degrees]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
