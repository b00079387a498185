"""How long a sequence a model can take, as vLLM reckons it from `config.json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# Ways of scaling positions that leave `max_position_embeddings` as the limit.
_UNSTRETCHED = ("default", "llama3", "longrope", "su")
_STRETCHED = ("linear", "dynamic")


def longest_context(config: Mapping[str, Any], positions: int) -> int | None:
    """The most tokens of a sequence; None for a way of scaling that we do not know.

    `positions` is `max_position_embeddings`. Source: vLLM's config/model.py (_get_and_verify_max_len) of
    0.11, 0.16 and 0.32. For yarn older versions take the original positions times the factor, newer ones
    `positions`: the larger counts. So does a larger `model_max_length`.
    """
    longest = positions
    for scaling in _scalings(config):
        kind = scaling.get("rope_type", scaling.get("type", "default"))
        if kind in _UNSTRETCHED:
            continue
        original = scaling.get("original_max_position_embeddings") if kind == "yarn" else positions
        if kind not in (*_STRETCHED, "yarn"):
            return None
        stretched = _number(original) * _number(scaling.get("factor"))
        if not stretched:
            return None
        longest = max(longest, int(stretched))
    most = config.get("model_max_length")
    return max(longest, most) if isinstance(most, int) else longest


def _scalings(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Each `rope_scaling`; newer files say `rope_parameters`, some one mapping for each kind of layer."""
    nested = config.get("text_config")
    for one in (config, nested if isinstance(nested, dict) else {}):
        scaling = one.get("rope_scaling") or one.get("rope_parameters")
        if isinstance(scaling, dict):
            yield scaling
            yield from (inner for inner in scaling.values() if isinstance(inner, dict))


def _number(value: object) -> float:
    """0 for what is no sensible number."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 2**40:
        return value
    return 0
