"""Told: what the checks saw, as it may be shown: without secrets, and each sentence in one line.

It is the hiding of a bundle (neuronctl/redaction), for the terminal and for --json alike: a check need not
think of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from neuronctl.doctor.known_key import spoken_keys
from neuronctl.doctor.known_secret import known_secrets
from neuronctl.redaction.redaction import Redaction
from neuronctl.result import Finding
from neuronctl.secret import secret_values
from neuronctl.time_limit import NoThread, TimeUp, within

if TYPE_CHECKING:
    from neuronctl.doctor.check import Outcome
    from neuronctl.host import Host

# The user's files may lie on a server that hangs; then what the environment holds is hidden.
_FILES_S = 2.0


def tell_outcomes(outcomes: Sequence[Outcome], host: Host) -> tuple[Outcome, ...]:
    """The outcomes without secrets, and without what could forge further lines on a terminal."""
    keys = {key for outcome in outcomes for key in spoken_keys(outcome.data)}
    redaction = Redaction(_secrets(host), plain=keys)
    return tuple(_tell(outcome, redaction) for outcome in outcomes)


def _secrets(host: Host) -> tuple[str, ...]:
    try:
        return within(_FILES_S, lambda: known_secrets(host))
    except (TimeUp, NoThread):
        return secret_values(host.environ)


def _tell(outcome: Outcome, redaction: Redaction) -> Outcome:
    return replace(
        outcome,
        says=_in_one_line(outcome.says, redaction),
        findings=tuple(_tell_finding(one, redaction) for one in outcome.findings),
        data=cast("Mapping[str, object]", redaction.data(outcome.data)),
    )


def _tell_finding(finding: Finding, redaction: Redaction) -> Finding:
    fix = None if finding.fix is None else _in_one_line(finding.fix, redaction)
    return replace(finding, message=_in_one_line(finding.message, redaction), fix=fix)


def _in_one_line(text: str, redaction: Redaction) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in redaction.text(text))
