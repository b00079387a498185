"""Spoken: values said outside of a file, in `NEURONCTL_*` variables, in `--set` and in flags."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from neuronctl.errors import Place, ProfileError
from neuronctl.host import Host
from neuronctl.profile.check import Checker, KeyPath, Layer
from neuronctl.profile.kind import accepts_text_only, annotation_at, fields_of, kinds_of, section_of
from neuronctl.profile.load import SECRET_IN_QUOTES, Node, node_of, parse
from neuronctl.profile.origin import Origin
from neuronctl.profile.schema import ProfileShape
from neuronctl.result import Finding
from neuronctl.secret import is_secret

PREFIX = "NEURONCTL_"
# Variables that mean something else to neuronctl, or to the processes that it starts.
RESERVED = frozenset(
    {
        "NEURONCTL_GUIDELLM_PYTHON",
        "NEURONCTL_HOME",
        "NEURONCTL_PROFILE",
        "NEURONCTL_PYTHON",
        "NEURONCTL_RUN_ID",
    }
)
RESERVED_BEGINNING = "NEURONCTL_LOG"
# Said by files alone: they make no sense without one.
_FILE_ONLY = frozenset({"extends", "description"})
_SCALARS = frozenset({"text", "integer", "number", "boolean", "choice"})


def variables() -> dict[str, KeyPath]:
    """Every variable that sets a key: `NEURONCTL_ENGINE_MAX_MODEL_LEN` → `engine.max_model_len`."""
    return {
        PREFIX + "_".join(field.path).upper(): field.path
        for field in fields_of(ProfileShape)
        if field.section is None
        and field.path[0] not in _FILE_ONLY
        and any(kind.name in _SCALARS for kind in kinds_of(field.annotation))
    }


def environment_layers(host: Host) -> tuple[list[Layer], list[ProfileError], list[Finding]]:
    """What the `NEURONCTL_*` variables say. An empty variable says nothing; an unknown one is a finding."""
    said = sorted(name for name in host.environ if name.startswith(PREFIX) and not _is_reserved(name))
    layers: list[Layer] = []
    errors: list[ProfileError] = []
    findings: list[Finding] = []
    known = variables() if said else {}
    for name in said:
        text = host.environ[name]
        if name not in known:
            findings.append(_unknown_variable(name, known))
        elif text:
            layer, wrong = _said(known[name], text, name, Origin("env", name=name), host)
            layers.append(layer)
            errors.extend(wrong)
    return layers, errors, findings


def set_layers(sets: Sequence[str], host: Host) -> tuple[list[Layer], list[ProfileError]]:
    """What `--set key.path=value` says; values are written as in YAML."""
    layers: list[Layer] = []
    errors: list[ProfileError] = []
    for said in sets:
        key, equals, text = said.partition("=")
        path = split_path(key.strip())
        if not equals or not all(path):
            what = "--set: expected KEY=VALUE"
            errors.append(ProfileError(what, fix="write  --set engine.max_model_len=2048"))
        elif path[0] == "extends":
            errors.append(
                ProfileError("--set: `extends` is said by files alone", fix="make a profile that says it")
            )
        elif not text.strip():
            what = f"--set {key.strip()}: nothing stands after the ="
            errors.append(ProfileError(what, fix='write a value, null for the built-in one, or ""'))
        else:
            name = f"--set {key.strip()}"
            layer, wrong = _said(path, text.strip(), name, Origin("flag", name=name), host)
            layers.append(layer)
            errors.extend(wrong)
    return layers, errors


def flag_layers(
    flags: Mapping[str, tuple[object, str]], host: Host
) -> tuple[list[Layer], list[ProfileError]]:
    """What flags of their own say: key path → value, name of the flag. None: the flag was not given."""
    layers: list[Layer] = []
    errors: list[ProfileError] = []
    for key, (value, name) in flags.items():
        if value is None:
            continue
        checker = _checker(name, Origin("flag", name=name), host)
        layers.append(checker.single(split_path(key), node_of(value)))
        errors.extend(checker.errors)
    return layers, errors


def split_path(text: str) -> KeyPath:
    """The keys of a dotted path; a key with dots in it stands in double quotes."""
    keys: list[str] = []
    key = ""
    quoted = False
    for letter in text:
        if letter == '"':
            quoted = not quoted
        elif letter == "." and not quoted:
            keys.append(key)
            key = ""
        else:
            key += letter
    return (*keys, key)


def _said(
    path: KeyPath, text: str, name: str, origin: Origin, host: Host
) -> tuple[Layer, list[ProfileError]]:
    checker = _checker(name, origin, host)
    annotation = annotation_at(path, ProfileShape)
    try:
        node, errors = (Node(text), []) if _is_bare_text(text, annotation) else parse(text, None)
    except ProfileError as error:
        return Layer(), [_retold(error, path, name)]
    layer = checker.single(path, node)
    if errors and is_secret(path):
        errors = [ProfileError(SECRET_IN_QUOTES)]
    return layer, [_retold(error, path, name) for error in errors] + checker.errors


def _checker(name: str, origin: Origin, host: Host) -> Checker:
    return Checker(lambda _line: origin, base=host.cwd, home=host.home, spoken=name, bare_paths=True)


def _is_bare_text(text: str, annotation: Any) -> bool:
    """Whether the text is meant as it stands: no shell user quotes a revision of digits for YAML's sake."""
    if annotation is None or annotation is Any or section_of(annotation) is not None:
        return False
    return accepts_text_only(annotation) and text not in ("null", "~") and text[0] not in "[\"'"


def _retold(error: ProfileError, path: KeyPath, name: str) -> ProfileError:
    return ProfileError(
        f"{name}: {error.what}", fix=error.fix, place=Place(key=".".join(path)), code=error.error_code
    )


def _is_reserved(name: str) -> bool:
    return name in RESERVED or name.startswith(RESERVED_BEGINNING)


def _unknown_variable(name: str, known: Iterable[str]) -> Finding:
    from neuronctl.profile.suggest import nearest_word

    near = nearest_word(name, [*known, *RESERVED], 0.8)
    return Finding(
        id="profile.unknown-variable",
        severity="warning",
        message=f"{name} is set, and is no variable that neuronctl reads",
        fix=f"did you mean {near}?" if near else f"unset {name}",
    )
