"""Models known without asking the hub: one YAML file in `known/` for each, with the source of every fact.

A plan needs a model's configuration and the size of its weights, and must not need a network for them. What
is recorded is a reading of public copies; the model itself, once it is here, always counts for more.

In a file: `revisions` are the commits for which `config` holds, the newest or most used first, and
`revisions_of_unknown_config` those for which it may not; `config` is the content of config.json without keys
that are absent there, and `config_basis` says where it was read, for single fields too. `source` and
`confidence` (verbatim: read in a copy or a statement of the number; derived: computed, or read in a sibling;
unverified) stand beside every fact, and `sources` spells the sources' short names out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from neuronctl.yaml_data import read_yaml

FOLDER = Path(__file__).with_name("known")

# The hub redirects an organisation that was renamed; the weights and commits are the same.
# Source: known/mistral-community--pixtral-12b.yaml, notes.
RENAMED = {"mistral-experimental/pixtral-12b": "mistral-community/pixtral-12b"}


@dataclass(frozen=True)
class KnownModel:
    """What is recorded of one model at one commit.

    `commit` and `config` (the content of `config.json`, without keys that it leaves out) are None where no
    source tells them; `assumed_config` is then a sibling's, unverified: good for the size of a draft, never
    for a plan. `parameters` counts each tensor once. `tensor_bytes` are the weights, and `weights_basis`
    says how sure that is. `gated` is "manual" where the hub asks for approval, "conflict"
    where sources differ, None where it is unknown. `notes` are contradictions that matter.
    """

    id: str
    commit: str | None
    config: Mapping[str, Any] | None
    assumed_config: Mapping[str, Any] | None
    tied: bool | None
    parameters: int | None
    tensor_bytes: int | None
    weights_basis: str
    lm_head_stored: bool | None
    gated: bool | str | None
    notes: tuple[str, ...]


def known_model(model_id: str, revision: str | None) -> KnownModel | None:
    """The record of a hub model at `revision`, a whole commit; None means the first that is recorded.

    Returns None for a model without a record, and for a revision that is not in it: another commit may have
    another configuration. Reads one file.
    """
    recorded_id = RENAMED.get(model_id, model_id)
    record = _record(recorded_id)
    if record is None:
        return None
    commits = [row["sha"] for row in record["revisions"]]
    commit = revision or next(iter(commits), None)
    if revision is not None and revision not in commits:
        return None
    parameters, weights = record["parameters"], record["weights"]
    return KnownModel(
        id=model_id,
        commit=commit,
        config=record["config"],
        assumed_config=record.get("assumed_config"),
        tied=record["tied"]["value"],
        parameters=parameters["total"],
        tensor_bytes=weights.get("tensor_bytes"),
        weights_basis=weights["confidence"],
        lm_head_stored=weights.get("lm_head_stored"),
        gated=record["gated"]["value"],
        notes=tuple(record["notes"]),
    )


def known_ids() -> tuple[str, ...]:
    """The hub ids that have a record, in order."""
    return tuple(sorted(path.stem.replace("--", "/", 1) for path in FOLDER.glob("*.yaml")))


@cache
def _record(model_id: str) -> dict[str, Any] | None:
    # The id comes from a profile: only a name that the folder lists may become a path.
    if model_id not in known_ids():
        return None
    record: dict[str, Any] = read_yaml(FOLDER / f"{model_id.replace('/', '--')}.yaml")
    return record
