"""The tokenizer inside a GGUF file, as the files of a Hugging Face model folder."""

from __future__ import annotations

from neuronctl.errors import ModelNotResolved
from neuronctl.model.gguf_header import GgufHeader

# Values of tokenizer.ggml.token_type (source: llama.cpp, llama_token_type).
_CONTROL = 3
_USER_DEFINED = 4

_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}

# How text is cut before the merges, by tokenizer.ggml.pre. SmolLM cuts every digit off by itself.
_CUTTING: dict[str, dict[str, object]] = {
    "gpt-2": _BYTE_LEVEL,
    "smollm": {
        "type": "Sequence",
        "pretokenizers": [{"type": "Digits", "individual_digits": True}, _BYTE_LEVEL],
    },
}


def check_tokenizer(values: dict[str, object]) -> None:
    """Raise ModelNotResolved if the tokenizer named in a GGUF header is of a kind we cannot write."""
    model = values.get("tokenizer.ggml.model")
    if model != "gpt2":
        raise ModelNotResolved(f"the GGUF's tokenizer is {model!r}; only 'gpt2' (byte-level BPE) works")
    cutting = values.get("tokenizer.ggml.pre", "gpt-2")
    if not isinstance(cutting, str) or cutting not in _CUTTING:
        known = ", ".join(sorted(_CUTTING))
        raise ModelNotResolved(
            f"the GGUF's tokenizer cuts text in the way {cutting!r}; supported are: {known}"
        )
    if values.get("tokenizer.ggml.add_bos_token") or values.get("tokenizer.ggml.add_eos_token"):
        raise ModelNotResolved("the GGUF's tokenizer adds a first or last token to each text: not supported")


def tokenizer_files(header: GgufHeader, config: dict[str, object]) -> dict[str, dict[str, object]]:
    """`tokenizer.json` and `tokenizer_config.json` by name, for the model with this `config.json`.

    The header must have been read with its arrays.

    Raises ModelNotResolved for a tokenizer that is incomplete or of an unsupported kind.
    """
    values = header.values
    check_tokenizer(values)
    tokens = _strings(values, "tokenizer.ggml.tokens")
    merges = _strings(values, "tokenizer.ggml.merges")
    kinds = values.get("tokenizer.ggml.token_type")
    if not isinstance(kinds, list) or len(kinds) != len(tokens):
        raise ModelNotResolved("the GGUF's tokenizer.ggml.token_type does not fit its list of tokens")
    vocabulary = {token: number for number, token in enumerate(tokens)}
    if len(vocabulary) != len(tokens):
        raise ModelNotResolved("the GGUF's tokenizer has the same token twice")
    rows = config["vocab_size"]
    if isinstance(rows, int) and len(tokens) > rows:
        raise ModelNotResolved(
            f"the GGUF's tokenizer has {len(tokens)} tokens and its embeddings only {rows}"
        )
    added = [
        {
            "id": number,
            "content": tokens[number],
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": kind == _CONTROL,
        }
        for number, kind in enumerate(kinds)
        if kind in (_CONTROL, _USER_DEFINED)
    ]
    tokenizer: dict[str, object] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": _CUTTING[str(values.get("tokenizer.ggml.pre", "gpt-2"))],
        "post_processor": None,
        "decoder": _BYTE_LEVEL,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": merges,
        },
    }
    # The general class of transformers takes tokenizer.json as it is; GPT2Tokenizer would put its own way of
    # cutting in its place.
    settings: dict[str, object] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config["max_position_embeddings"],
        "clean_up_tokenization_spaces": False,
    }
    for role, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        number = values.get(f"tokenizer.ggml.{key}_token_id")
        if number is None:
            continue
        if not isinstance(number, int) or not 0 <= number < len(tokens):
            raise ModelNotResolved(f"the GGUF's {key} token {number!r} is not in its list of tokens")
        settings[f"{role}_token"] = tokens[number]
    template = values.get("tokenizer.chat_template")
    if isinstance(template, str):
        settings["chat_template"] = template
    return {"tokenizer.json": tokenizer, "tokenizer_config.json": settings}


def _strings(values: dict[str, object], key: str) -> list[str]:
    found = values.get(key)
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise ModelNotResolved(f"the GGUF has no list of strings {key}")
    return found
