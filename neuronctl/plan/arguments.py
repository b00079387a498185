"""vLLM's arguments: from a profile's engine section and features, and as an argv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from neuronctl.errors import Place, UsageError
from neuronctl.plan.plan import Setting
from neuronctl.profile.load import dotted
from neuronctl.profile.resolve import Profile
from neuronctl.profile.schema import EngineSection
from neuronctl.secret import split_flags

# Arguments that neuronctl sets itself, with what to use instead. Given after `--` they would quietly win
# over the plan, or expose a server that was refused.
OWNED = {
    "model": "model.id in the profile",
    "host": "--host, or server.host in the profile",
    "port": "--port, or server.port in the profile",
    "api-key": "server.api_key_env in the profile: a key in the arguments is visible to every user",
    "served-model-name": "engine.served_model_name in the profile",
    "uds": "--host and --port",
    "ssl-keyfile": "a TLS proxy in front",
    "ssl-certfile": "a TLS proxy in front",
    "config": "the profile",
    "headless": "neither: neuronctl asks the server whether it is ready",
    "help": "neuronctl serve --help",
}


# Units that vLLM's parser knows for whole numbers (vllm/engine/arg_utils.py, human_readable_int).
_UNITS = {
    unit: base**power for base, units in ((1000, "kmg"), (1024, "KMG")) for power, unit in enumerate(units, 1)
}
_LONGEST_NUMBER = 18


def stated_engine(profile: Profile) -> dict[str, Setting]:
    """The arguments that the profile states itself, `engine.extra` included.

    Raises UsageError for one that neuronctl sets itself.
    """
    stated: dict[str, Setting] = {}
    section = profile.shape.engine
    for name in section.__struct_fields__:
        value = getattr(section, name)
        if name != "extra" and value is not None:
            stated[name] = Setting(value, str(profile.origin(f"engine.{name}")))
    for name, value in section.extra.items():
        key = dotted(("engine", "extra", name))
        origin = profile.origin(key)
        if owner := _owner(name):
            raise UsageError(
                f"{name} cannot be an argument of vLLM here",
                place=Place(origin.file, origin.line, key),
                fix=f"use {owner}",
                code="usage.owned-argument",
            )
        stated[name.lstrip("-").replace("-", "_")] = Setting(value, str(origin))
    return stated


def feature_arguments(profile: Profile) -> dict[str, Setting]:
    """What the features that vLLM itself implements mean as arguments; the same on each backend."""
    features, implied = profile.shape.features, {}

    def imply(name: str, value: object, feature: str) -> None:
        implied[name] = Setting(value, f"features.{feature}, {profile.origin(f'features.{feature}')}")

    if features.prefix_caching is not None:
        imply("enable_prefix_caching", features.prefix_caching, "prefix_caching")
    if features.chunked_prefill is not None:
        imply("enable_chunked_prefill", features.chunked_prefill, "chunked_prefill")
    if features.tools.parser is not None:
        imply("enable_auto_tool_choice", True, "tools.parser")
        imply("tool_call_parser", features.tools.parser, "tools.parser")
    lora = features.lora
    if lora.adapters:
        imply("enable_lora", True, "lora.adapters")
        imply("lora_modules", [f"{name}={path}" for name, path in lora.adapters.items()], "lora.adapters")
        imply("max_loras", lora.max_adapters or len(lora.adapters), "lora.adapters")
    if lora.max_rank is not None:
        imply("max_lora_rank", lora.max_rank, "lora.max_rank")
    return implied


def argv(engine: Mapping[str, object]) -> tuple[str, ...]:
    """Spell arguments for a command line: `true` as `--name`, `false` as `--no-name`, mappings as JSON.

    An argument without a value (None) is left out.
    """
    words: list[str] = []
    for name, value in engine.items():
        flag = "--" + name.replace("_", "-")
        if value is None:
            continue
        if value is True:
            words.append(flag)
        elif value is False:
            words.append("--no-" + name.replace("_", "-"))
        elif isinstance(value, (list, tuple)):
            words += [flag, *(_spelt(item) for item in value)]
        elif (text := _spelt(value)).startswith("-"):
            words.append(f"{flag}={text}")  # a word of its own would be taken for a flag
        else:
            words += [flag, text]
    return tuple(words)


def _spelt(value: object) -> str:
    import json

    if isinstance(value, (Mapping, list, tuple, bool)) or value is None:
        return json.dumps(value, separators=(",", ":"))
    return str(value)


def check_passthrough(words: Sequence[str]) -> None:
    """Refuse arguments after `--` that neuronctl owns. Raises UsageError naming what to use instead."""
    if words and not words[0].startswith("-"):
        raise UsageError(
            f"{words[0]!r} after -- is not an argument of vLLM",
            fix="-- --NAME VALUE",
            code="usage.passthrough",
        )
    for word in words:
        name = word.partition("=")[0]
        if name.startswith("--") and (owner := _owner(name)):
            raise UsageError(
                f"{name} cannot be passed through to vLLM", fix=f"use {owner}", code="usage.owned-argument"
            )


def passthrough_engine(words: Sequence[str]) -> dict[str, object]:
    """What the words after `--` say, as engine arguments, so that rules and estimates can see it.

    vLLM's parser decides in the end; this reads `--name value`, `--name=value`, `--name`, `--no-name`, and
    shortened names where only one argument that profiles know begins so.
    """
    known = EngineSection.__struct_fields__
    said: dict[str, object] = {}
    for name, group in split_flags(words):
        if name is None:
            continue
        value: object = True
        texts = [group[0].partition("=")[2], *group[1:]] if "=" in group[0] else group[1:]
        if texts:
            values = [_read(text) for text in texts]
            value = values[0] if len(values) == 1 else values
        elif name.startswith("no_"):
            name, value = name.removeprefix("no_"), False
        longer = [one for one in known if one.startswith(name)]
        said[longer[0] if name not in known and len(longer) == 1 else name] = value
    return said


def _read(text: str) -> object:
    """A value as vLLM's parser takes it: a number, one such as 4k (1000) or 4K (1024), a mapping in JSON."""
    if text.isdecimal() and len(text) <= _LONGEST_NUMBER:
        return int(text)
    if text[:-1].isdecimal() and text[-1] in _UNITS and len(text) <= _LONGEST_NUMBER:
        return int(text[:-1]) * _UNITS[text[-1]]
    if text.startswith("{"):
        import json

        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return text


def _owner(name: str) -> str | None:
    """What to use instead of an argument, where neuronctl sets it itself.

    Shortened names count: vLLM's parser takes `--hos` for `--host` (argparse, allow_abbrev).
    """
    plain = name.lstrip("-").partition("=")[0].replace("_", "-")
    if not plain:
        return None
    return OWNED.get(plain) or next((OWNED[long] for long in OWNED if long.startswith(plain)), None)
