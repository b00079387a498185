"""Which keys belong to the other generation of the plugin, and what to write instead of them.

Both generations drop what they do not know, with one warning or with none. The table is in migration.yaml.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from neuronctl.neuron.keys import Generation, KeyFault, known_keys
from neuronctl.yaml_data import read_yaml

_SAMPLING = "on_device_sampling_config"
# Both generations have it: nxdi in its section, with keys of NeuronConfig; native beside it, with its own.
_VISION = "vision_neuron_config"
# The key of `--additional-config` under which each generation looks for its settings.
SECTIONS: dict[Generation, str] = {"nxdi": "override_neuron_config", "native": "neuron_config"}


def other_generation(generation: Generation) -> Generation:
    """The one that `generation` is not."""
    return "native" if generation == "nxdi" else "nxdi"


def is_foreign(fault: KeyFault, generation: Generation) -> bool:
    """Whether what is wrong with a key is only that it is one of the other generation's.

    What NxD Inference makes of the keys of its sub-configurations is not asked here.
    """
    section, _, word = fault.path.replace("-", "_").rpartition(".")
    if generation == "nxdi":
        is_section = word == SECTIONS["native"] and section in ("", SECTIONS["nxdi"])
        is_key = section == SECTIONS["nxdi"] and word in known_keys("native")
        return fault.kind == "unknown" and (is_section or is_key)
    if fault.kind not in ("unknown", "ignored"):
        return False
    if word == SECTIONS["nxdi"]:
        return True
    if section in (SECTIONS["native"], _VISION):
        return word in known_keys("nxdi", SECTIONS["nxdi"])
    # The others, AWS documents for this generation too.
    is_sampling = section == f"{SECTIONS['native']}.{_SAMPLING}"
    return is_sampling and fault.kind == "unknown" and word in known_keys("nxdi", _SAMPLING)


def translate(word: str, generation: Generation) -> str | None:
    """What to write for `generation` instead of a key of the other one; None where nobody knows."""
    if word in known_keys(generation, SECTIONS[generation]):
        return f"neuron.{word}"
    return _table()[generation].get(word)


@cache
def _table() -> dict[Generation, dict[str, str]]:
    rows = read_yaml(Path(__file__).with_name("migration.yaml"))["rows"]
    return {
        generation: {
            word: row[f"to_{generation}"]
            for row in rows
            for word in row[other_generation(generation)]
            if f"to_{generation}" in row
        }
        for generation in SECTIONS
    }
