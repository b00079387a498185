"""Selection: which files of a repository serving needs, told from their names alone."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

SAFETENSORS_INDEX = "model.safetensors.index.json"
BIN_INDEX = "pytorch_model.bin.index.json"
ADAPTER_CONFIG = "adapter_config.json"

# Configuration, tokenizer and chat template. Mistral's own formats too: params.json, tekken.json.
_SMALL = (".json", ".model", ".tiktoken", ".jinja", ".py")
# What trainers and exporters leave; a file whose name begins so is never needed.
_LEFT_BEHIND = (
    "trainer_state",
    "training_args",
    "optimizer",
    "scheduler",
    "rng_state",
    "scaler",
    "all_results",
    "train_results",
    "eval_results",
)
# Of the texts, which are mostly licences, those that belong to a tokenizer.
_TEXTS = ("merges.txt", "vocab.txt")
_FOLDERS = ("additional_chat_templates/",)
_SHARD = re.compile(r"-\d{5}-of-\d{5}(?=\.\w+$)")
_CONSOLIDATED = "consolidated"


def small_files(names: Iterable[str]) -> list[str]:
    """Those that say what the model is and how to talk to it: kilobytes each, a tokenizer some megabytes."""
    return sorted(
        name
        for name in names
        if (name.endswith(_SMALL) or name in _TEXTS)
        and ("/" not in name or name.startswith(_FOLDERS))
        and not name.startswith(_LEFT_BEHIND)
        and not name.endswith((".bin.index.json", ".safetensors.index.json"))
    )


def weight_files(names: Collection[str], *, indexed: Collection[str] = ()) -> list[str]:
    """The files of weights, with their index.

    `indexed` are the files that the index of the chosen format names, where it is known. Safetensors come
    before .bin, the shards of an index before other files, and Hugging Face's layout before Mistral's
    consolidated one: the others hold the same weights again.
    """
    top = [name for name in names if "/" not in name and not name.startswith(_LEFT_BEHIND)]
    adapters = [name for name in top if name.startswith("adapter_model.")]
    if ADAPTER_CONFIG in names and adapters:
        safe = [name for name in adapters if name.endswith(".safetensors")]
        return sorted(safe or adapters)
    safe = [name for name in top if name.endswith(".safetensors")]
    if safe:
        return _of_one_layout(safe, SAFETENSORS_INDEX if SAFETENSORS_INDEX in names else None, indexed)
    old = [name for name in top if name.endswith(".bin") and name.startswith("pytorch_model")]
    return _of_one_layout(old, BIN_INDEX if BIN_INDEX in names else None, indexed) if old else []


def index_of(names: Collection[str]) -> str | None:
    """The index of the weights that weight_files() chooses from, None where there is none.

    Where there are no weights either, it is the one of those that will be chosen from.
    """
    top = [name for name in names if "/" not in name]
    if any(name.endswith(".safetensors") for name in top):
        return SAFETENSORS_INDEX if SAFETENSORS_INDEX in top else None
    if any(name.endswith(".bin") and name.startswith("pytorch_model") for name in top):
        return BIN_INDEX if BIN_INDEX in top else None
    return next((index for index in (SAFETENSORS_INDEX, BIN_INDEX) if index in top), None)


def _of_one_layout(files: list[str], index: str | None, indexed: Collection[str]) -> list[str]:
    if index is not None:
        # A file that the index names and the repository lacks stays in the list: that has to be told.
        shards = sorted(indexed) or [name for name in files if _SHARD.search(name)] or files
        return [index, *sorted(shards)]
    plain = [name for name in files if not name.startswith(_CONSOLIDATED)]
    whole = [name for name in plain if name in ("model.safetensors", "pytorch_model.bin")]
    return sorted(whole or plain or files)
