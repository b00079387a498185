"""Secret: which keys and values must never be shown, in an error, an answer or a log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

HIDDEN = "(hidden)"

# What is shorter is not looked for in text: masking it would mask ordinary words.
SHORTEST = 6

_WORDS = frozenset(
    {
        "token",
        "key",
        "apikey",
        "password",
        "passwd",
        "passphrase",
        "pass",
        "pwd",
        "secret",
        "credential",
        "credentials",
        "auth",
    }
)
_ENDINGS = ("apikey", "api_keys", "apikeys", "token", "password", "passwords", "secret")
# How the keys and tokens of well-known services begin.
_BEGINNINGS = (
    "hf_",
    "sk-",
    "sk_",
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "ghr_",
    "npm_",
    "AIzaSy",
    "dckr_pat_",
    "pypi-AgE",
    "github_pat_",
    "glpat-",
    "xox",
    "AKIA",
    "ASIA",
    "Bearer ",
)
# What stands between the user and the host in `scheme://user:password@host`.
_PASSWORD = re.compile(r"(://[^\s/:@]*:)([^\s/]+)(?=@)")
# Says where a key is. Shown where it looks like a variable: somebody may have put the key itself there.
_VARIABLES = frozenset({"api_key_env"})
# Arguments of vLLM, Neuron settings and entries of a model's configuration whose names hold such a word, and
# no secret.
_PLAIN = frozenset(
    {
        "pwd",
        "oldpwd",
        "num_key_value_heads",
        "long_prefill_token_threshold",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "image_token_id",
        "image_token_index",
        "token_generation_buckets",
        "token_generation_batches",
        "token_tree_config",
        "prompt_token_ids",
        "prompt_token_ids_path",
        "disable_numeric_cc_token",
        "skip_dma_token",
        "optimized_block_to_token_mapping",
        "parallelize_token_to_block_mapping",
    }
)


def is_secret(path: Iterable[str], value: object = None) -> bool:
    """Whether what stands at `path` looks secret, by any of its keys or by its own look."""
    for key in path:
        lowered = key.lower()
        if lowered in _PLAIN:
            continue
        words = lowered.replace("-", "_").replace(".", "_").split("_")
        if lowered in _VARIABLES:
            if isinstance(value, str) and not (value.isidentifier() and value == value.upper()):
                return True
        elif not _WORDS.isdisjoint(words) or lowered.endswith(_ENDINGS):
            return True
    return isinstance(value, str) and (value.startswith(_BEGINNINGS) or _PASSWORD.search(value) is not None)


def hide_passwords(text: str) -> str:
    """`text` with (hidden) for the passwords of addresses in it: `scheme://user:password@host`."""
    return _PASSWORD.sub(rf"\1{HIDDEN}", text)


def redact(path: tuple[str, ...], value: object) -> object:
    """`value` with everything that looks secret replaced by `(hidden)`; mappings and lists are copied."""
    if isinstance(value, dict):
        return {key: redact((*path, str(key)), inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)) and not is_secret(path):
        return [redact(path, inner) for inner in value]
    return HIDDEN if value is not None and not isinstance(value, bool) and is_secret(path, value) else value


def secret_values(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Values of variables whose names look secret and passwords of addresses in others, the longest first.

    Those of fewer than SHORTEST characters are left out.
    """
    found = {value for name, value in environ.items() if is_secret((name,))}
    found |= {password for value in environ.values() for _, password in _PASSWORD.findall(value)}
    return tuple(sorted((one for one in found if len(one) >= SHORTEST), key=len, reverse=True))


def split_flags(words: Sequence[str]) -> list[tuple[str | None, list[str]]]:
    """A command line's words as flags with their values: `(name, [--name, value…])`; None before any flag.

    `name` is spelt with underscores, without `--` and without `=value`.
    """
    groups: list[tuple[str | None, list[str]]] = []
    for word in words:
        if word.startswith("--"):
            groups.append((word[2:].partition("=")[0].replace("-", "_"), [word]))
        elif groups:
            groups[-1][1].append(word)
        else:
            groups.append((None, [word]))
    return groups


def hide_in_words(words: Sequence[str]) -> list[str]:
    """`words` of a command line with `(hidden)` for what looks secret.

    That is the value of a flag whose name looks secret, a value that looks so itself, and such entries of a
    value in JSON.
    """
    shown: list[str] = []
    for name, group in split_flags(words):
        path = () if name is None else (name,)
        values = group
        if name is not None:
            flag, equals, value = group[0].partition("=")
            shown.append(f"{flag}={_hide_value(path, value)}" if equals else flag)
            values = group[1:]
        shown += [_hide_value(path, value) for value in values]
    return shown


def _hide_value(path: tuple[str, ...], value: str) -> str:
    if is_secret(path, value):
        return HIDDEN
    if not value.startswith(("{", "[")):
        return value
    import json

    try:
        told = json.loads(value)
        shown = redact(path, told)
    except (ValueError, RecursionError):
        return value
    return value if shown == told else json.dumps(shown, separators=(",", ":"))


def hide_assignment(text: str) -> str:
    """`KEY=VALUE` with the value hidden where it looks secret; any other text as it is."""
    key, equals, value = text.partition("=")
    return f"{key}={HIDDEN}" if equals and is_secret(key.split("."), value) else text
