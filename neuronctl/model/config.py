"""The facts that a plan needs from a model's `config.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuronctl.errors import ModelNotResolved, Place
from neuronctl.model.plain_file import NoPlainFile, read_plain

# What a class makes of a key that config.json leaves out, by the model type of the text part. Source:
# configuration_*.py of transformers 4.57.6 and 5.19.0, which agree. LlavaConfig's own default for tied
# embeddings is left out on purpose: the two versions differ, and the text part decides.
TIED_BY_DEFAULT = {
    "llama": False,
    "mistral": False,
    "qwen2": False,
    "qwen3": False,
    "qwen3_moe": False,
    "gpt_oss": False,
    "llama4": False,
    "llama4_text": False,
}
HEADS_BY_DEFAULT = {"mistral": 32, "llama4_text": 40}
# Far above any size of a model, and small enough to calculate with.
_LARGEST = 2**40


@dataclass(frozen=True)
class ModelFacts:
    """What `config.json` says of a language model; of its text part where it also takes images.

    `tied` is None where the file does not say whether input and output embeddings are one tensor: absent
    is not the same as false, because the default depends on the model type. That default is
    `tied_by_default`, None for a model type that we do not know; `is_tied` is the one or the other.

    `experts` is how many a mixture has in one layer, each `moe_intermediate_size` wide. `rope_scaling` is how
    positions beyond those of the training are reached, as `llama3 x8`; None where they are not.
    """

    architecture: str
    model_type: str | None
    layers: int | None
    hidden_size: int | None
    attention_heads: int | None
    kv_heads: int | None
    head_dim: int | None
    vocabulary: int | None
    context_length: int | None
    dtype: str | None
    tied: bool | None
    tied_by_default: bool | None = None
    intermediate_size: int | None = None
    experts: int | None = None
    moe_intermediate_size: int | None = None
    is_multimodal: bool = False
    rope_scaling: str | None = None

    @property
    def is_tied(self) -> bool | None:
        """Whether input and output embeddings are one tensor; None where nothing tells."""
        return self.tied_by_default if self.tied is None else self.tied


def read_config(path: Path) -> dict[str, Any]:
    """Read a model's `config.json`, or another of its JSON files.

    Raises ModelNotResolved with the line for anything but a JSON object that can be read.
    """
    try:
        content = read_plain(path)
    except FileNotFoundError:
        raise ModelNotResolved(
            f"the model folder {path.parent} has no {path.name}",
            fix="point model.id at a folder in Hugging Face layout (config.json, tokenizer, *.safetensors)",
            code="model.no-config",
        ) from None
    except OSError as error:
        raise ModelNotResolved(
            f"cannot read {path}: {error.strerror}",
            fix="put the model's own file there"
            if isinstance(error, NoPlainFile)
            else "give this user the right to read the file, or download the model again",
            code="model.unreadable-config",
        ) from None
    try:
        config = json.loads(content.decode("utf-8"))
    except json.JSONDecodeError as error:
        why = f"is not JSON: {error.msg} in column {error.colno}"
        raise _broken(path, why, content, error.lineno) from None
    except UnicodeDecodeError as error:
        raise _broken(path, f"is not UTF-8 text: byte {error.start}", content) from None
    except RecursionError:
        raise _broken(path, "is nested too deeply", content) from None
    except ValueError as error:  # a number of thousands of digits
        raise _broken(path, f"is not sound: {error}", content) from None
    if not isinstance(config, dict):
        raise _broken(path, f"holds {_KINDS.get(type(config), 'a number')}, not an object", content)
    return config


# In the words of JSON.
_KINDS = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}


def _broken(path: Path, why: str, content: bytes, line: int | None = None) -> ModelNotResolved:
    return ModelNotResolved(
        f"{path.name} {why}",
        place=Place(file=str(path), line=line),
        fix=_remedy(path, content),
        code="model.broken-config",
    )


def _remedy(path: Path, content: bytes) -> str:
    """What helps against a file that is damaged: by where it is, and whether it is as the hub has it."""
    import hashlib

    snapshot = path.parent
    if snapshot.parent.name != "snapshots":
        return "copy the file again, or download the model again; the file is damaged"
    repo_id = snapshot.parent.parent.name.removeprefix("models--").replace("--", "/", 1)
    # The cache keeps a file under the digest that the hub has of it.
    digests = {
        hashlib.sha256(content).hexdigest(),
        hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest(),
    }
    if path.resolve().name in digests:
        return f"choose another revision of {repo_id}, or another model: the file is so on the hub"
    return f"neuronctl models download {repo_id} --revision {snapshot.name}"


def quantization_method(config: Mapping[str, Any]) -> str | None:
    """How the checkpoint says that its weights are quantised; None where it does not."""
    said = config.get("quantization_config")
    method = said.get("quant_method") if isinstance(said, Mapping) else None
    return method if isinstance(method, str) and method else None


def _rope_scaling(config: Mapping[str, Any]) -> str | None:
    """transformers calls it `rope_scaling`, and from 5.0 on `rope_parameters`, with "default" for none."""
    said = config.get("rope_scaling") or config.get("rope_parameters")
    if not isinstance(said, Mapping):
        return None
    kind = said.get("rope_type", said.get("type"))
    factor = said.get("factor")
    if not isinstance(kind, str) or kind == "default":
        return None
    return f"{kind} x{factor:g}" if isinstance(factor, int | float) else kind


def model_facts(config: dict[str, Any], named: str) -> ModelFacts:
    """Pick the facts from `config`, looking into a nested text configuration where there is one.

    `named` is the model as the user wrote it, for the error. Raises ModelNotResolved where no
    architecture is given, by which vLLM and every Neuron plugin choose the model's code, and where a size
    is a text or a number that no model has.
    """
    architectures = config.get("architectures")
    if not isinstance(architectures, list) or not architectures or not isinstance(architectures[0], str):
        raise ModelNotResolved(
            f"{named}: config.json names no architecture",
            fix='add "architectures", for example ["LlamaForCausalLM"], or use the original checkpoint',
            code="model.no-architecture",
        )
    nested = config.get("text_config")
    text: dict[str, Any] = nested if isinstance(nested, dict) else {}

    def number(*keys: str, least: int = 1) -> int | None:
        """The first key that the text part, or else the file, gives a whole number for."""
        for key in keys:
            value = text.get(key, config.get(key))
            if isinstance(value, bool) or not isinstance(value, int | float | str):
                continue  # null, or in another shape than most models have it, such as one for each layer
            if isinstance(value, str) or not least <= value <= _LARGEST or value != int(value):
                raise ModelNotResolved(
                    f"{named}: config.json gives {key} as {value!r:.40}, and no model has that: it must be a "
                    f"whole number, {least} or more",
                    fix="download the model again, or mend the file",
                    code="model.broken-config",
                )
            return int(value)
        return None

    model_type = config.get("model_type")
    text_type = text.get("model_type", model_type)
    text_type = text_type if isinstance(text_type, str) else ""
    hidden = number("hidden_size")
    heads = number("num_attention_heads") or HEADS_BY_DEFAULT.get(text_type)
    derived = hidden // heads if hidden and heads else None
    dtype = text.get("dtype") or text.get("torch_dtype") or config.get("dtype") or config.get("torch_dtype")
    tied = text.get("tie_word_embeddings", config.get("tie_word_embeddings"))
    # Mixtures name their experts in two ways; one that gives them no width of their own uses the common one.
    experts = number("num_local_experts", "num_experts", least=0) or None
    intermediate = number("intermediate_size")
    return ModelFacts(
        architecture=architectures[0],
        model_type=model_type if isinstance(model_type, str) else None,
        layers=number("num_hidden_layers"),
        hidden_size=hidden,
        attention_heads=heads,
        kv_heads=number("num_key_value_heads") or heads,
        head_dim=number("head_dim") or derived,
        vocabulary=number("vocab_size"),
        context_length=number("max_position_embeddings"),
        dtype=dtype if isinstance(dtype, str) else None,
        tied=tied if isinstance(tied, bool) else None,
        tied_by_default=TIED_BY_DEFAULT.get(text_type),
        intermediate_size=intermediate,
        experts=experts,
        moe_intermediate_size=(number("moe_intermediate_size", least=0) or intermediate) if experts else None,
        is_multimodal=isinstance(config.get("vision_config"), dict),
        rope_scaling=_rope_scaling(text) or _rope_scaling(config),
    )
