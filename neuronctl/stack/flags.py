"""Which arguments a version of vLLM's server accepts, as far as that was measured or documented."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from neuronctl.stack.version import release
from neuronctl.yaml_data import read_yaml

_CHOICES = re.compile(r"\(choose from (.*)\)")
# What the parser says of a flag that it does not have; any other complaint is about the value.
_NO_SUCH_FLAG = ("unrecognized arguments", "ambiguous option", "is not a vllm serve option")


@dataclass(frozen=True)
class Answer:
    """Whether a flag is accepted: `accepted` is None where nothing is known.

    `measured_on` is the version the answer was measured on, the nearest at or below the one asked for, None
    where it was only read. `inferred` says that it was not this version, or not this value.
    """

    accepted: bool | None
    reason: str
    measured_on: str | None
    inferred: bool
    source: str | None

    @property
    def has_no_flag(self) -> bool:
        """Whether the parser does not have the flag; otherwise what it refuses is the value."""
        return any(words in self.reason for words in _NO_SUCH_FLAG)


@cache
def _table() -> Any:
    return read_yaml(Path(__file__).with_name("flags.yaml"))


def check_flag(vllm_version: str, flag: str, value: str | None = None) -> Answer:
    """Whether vLLM's server of this version accepts `flag` (`--block-size`), with this value if one is given.

    Flags are compared as vLLM's parser does: an underscore is a hyphen (not in the path of
    `--additional-config.override_neuron_config.tp_degree`), `--no-X` is X turned off.
    """
    table = _table()
    name, dot, path = flag.partition(".")
    name = name.replace("_", "-") + dot + path
    rows = [row for row in table["measured"] if name in row["flags"]]
    if rows:
        return _measured(table, rows, vllm_version, name, value)
    positive = re.sub(r"^--no-", "--", name)
    for row in table["listed"]:
        if name in row["flags"] or positive in row["flags"]:
            return _listed(row, vllm_version, name)
    return Answer(None, f"nothing is known of {name}", None, False, None)


def _measured(
    table: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], version: str, flag: str, value: str | None
) -> Answer:
    versions: list[str] = table["measured_versions"]
    older = [one for one in versions if release(one) <= release(version)]
    if not older:
        return Answer(None, f"vLLM {version} is older than what was measured", None, False, None)
    on = older[-1]
    column = versions.index(on)
    answers = [(row.get("value"), row["answers"][column if len(row["answers"]) > 1 else 0]) for row in rows]
    accepted, reason, about_value = _judge(answers, flag, value)
    inferred = release(on) != release(version) or not about_value
    return Answer(accepted, reason, on, inferred, table["measured_source"])


def _judge(
    answers: Sequence[tuple[str | None, str]], flag: str, value: str | None
) -> tuple[bool | None, str, bool]:
    """Accepted or not, why, and whether that is known of this value and not only of the flag."""
    refused = [answer for _, answer in answers if any(words in answer for words in _NO_SUCH_FLAG)]
    if refused:
        return False, refused[0].removeprefix("no: "), True
    if value is None:
        return True, f"{flag} is accepted", True
    if answer := dict(answers).get(value):
        if answer == "yes":
            return True, f"{flag} {value} is accepted", True
        return (False if answer.startswith("no: ") else None), answer.removeprefix("no: "), True
    for _, answer in answers:
        if listed := _CHOICES.search(answer):
            choices = [choice.strip(" '") for choice in listed.group(1).split(",")]
            if value in choices:
                return True, f"{flag} takes {value}", True
            return False, f"{flag} takes {', '.join(choices)}, not {value}", True
    return True, f"{flag} is accepted; {value} was not tried", False


def _listed(row: Mapping[str, Any], version: str, flag: str) -> Answer:
    if not release(row["from"]) <= release(version) <= release(row["to"]):
        known = f"{row['from']} to {row['to']}"
        return Answer(None, f"{flag} is known of vLLM {known} only", None, False, row["source"])
    exact = release(version) == release(row["to"])
    return Answer(True, f"{flag} is in vLLM's parser", None, not exact, row["source"])
