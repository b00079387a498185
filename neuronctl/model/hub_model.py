"""A model of the hub: as the cache, our memory or our records know it; else the hub is asked.

A branch or tag becomes a commit the first time it is met, and stays that commit until somebody asks for news:
so the same profile is the same model tomorrow.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from neuronctl.errors import ModelNotResolved
from neuronctl.host import Host
from neuronctl.model.checkpoint import Checkpoint, add_up
from neuronctl.model.config import model_facts, read_config
from neuronctl.model.download import download_model, missing_files, wanted_files
from neuronctl.model.hub import fetch_facts, fetch_tensors, look_up, repository_folder
from neuronctl.model.hub_error import Asked, in_plain_words, offline_by
from neuronctl.model.listing import MAIN, HubMemory, Listing, is_commit
from neuronctl.model.model import Model
from neuronctl.model.weights import weights_missing
from neuronctl.profile.schema import ModelSection
from neuronctl.result import Tell

_PLAIN_ID = re.compile(r"(?:[A-Za-z0-9]+[_-]?)+(?:/(?:[A-Za-z0-9]+[._-]?)+)?(?<![._-])")


def find_hub_model(section: ModelSection, host: Host) -> Model:
    """The model at the commit that its revision is.

    Looked for in this order: the commit that a branch was when it was met, as far as the cache has it; what
    the cache says; our own record of a model; the hub, for what says what the model is (`config.json`, the
    headers of the weights). Raises ModelNotResolved.
    """
    _check_id(section.id, host)
    commit, moved = _commit_here(section.id, section.revision, host)
    if commit is not None:
        return _from_snapshot(section, commit, moved, host)
    if known := _from_record(section, host):
        return known
    if section.download == "never":
        raise _forbidden(section.id, section.revision, "", [])
    model = _from_snapshot(section, learn(section.id, section.revision, host).commit, None, host)
    # Not before it is known to be a model: the next attempt has to see what its owner has mended.
    HubMemory(section.id, host).remember_commit(section.revision, str(model.commit))
    return model


def learn(repo_id: str, revision: str | None, host: Host) -> Listing:
    """Ask the hub what a model is, and remember it; no weights are fetched. Raises ModelNotResolved."""
    _check_id(repo_id, host)
    listing = look_up(repo_id, revision, host)
    snapshot = fetch_facts(listing, host)
    if not (snapshot / "config.json").is_file():
        raise ModelNotResolved(
            f"{repo_id} has no config.json, which says what the model is",
            fix="choose a repository in Hugging Face layout (config.json, tokenizer, *.safetensors)",
            code="model.no-config",
        )
    fetch_tensors(listing, snapshot, host)
    return listing


def fetch_hub_model(model: Model, host: Host, *, tell: Tell) -> None:
    """Download what is missing of a model. Raises ModelNotResolved, also where that is forbidden."""
    if not model.may_download:
        raise _forbidden(model.id, model.revision, "the weights of ", missing_of(model, host))
    if variable := offline_by(host):
        missing = missing_of(model, host)
        raise ModelNotResolved(
            f"{Asked(model.id, model.revision)} is not whole in the hub's cache{_named(missing)}, and "
            f"{variable} forbids to download",
            fix=f"unset {variable.partition('=')[0]}, or download it elsewhere and copy the hub's cache here",
            code="model.not-downloaded",
        )
    known = HubMemory(model.id, host).listing(model.commit) if model.commit else None
    listing = known or look_up(model.id, model.commit or model.revision, host)
    # Where the commit is that of our record, the hub's branch may be another by now.
    is_branch = HubMemory(model.id, host).commit_of(model.revision) == listing.commit
    download_model(listing, model.revision if is_branch else listing.commit, host, tell=tell)


def refresh(repo_id: str, revision: str | None, host: Host, *, tell: Tell) -> tuple[str | None, Listing]:
    """Ask the hub for news of a revision and download it: the commit that it was, and what it is now.

    Raises ModelNotResolved.
    """
    _check_id(repo_id, host)
    before, _ = _commit_here(repo_id, revision, host)
    listing = look_up(repo_id, revision, host)
    download_model(listing, revision, host, tell=tell)
    HubMemory(repo_id, host).remember_commit(revision, listing.commit)
    return before, listing


def find_snapshot(repo_id: str, revision: str | None, host: Host, file: str = "config.json") -> Path | None:
    """The folder in the hub's cache that holds a revision of a repository, if `file` is in it.

    Raises ModelNotResolved for what cannot be a hub id.
    """
    _check_id(repo_id, host)
    commit, _ = _commit_here(repo_id, revision, host, file)
    return repository_folder(repo_id, host) / "snapshots" / commit if commit else None


def _check_id(repo_id: str, host: Host) -> None:
    """Raise ModelNotResolved for what cannot be a hub id, in the client's words."""
    if _PLAIN_ID.fullmatch(repo_id):
        return  # without importing the client, which takes longer than a plan
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise in_plain_words(error, Asked(repo_id, None), host) from None


def _commit_here(
    repo_id: str, revision: str | None, host: Host, file: str = "config.json"
) -> tuple[str | None, str | None]:
    """The commit to use of those that the cache holds, None if none; and another that the revision is now."""
    folder = repository_folder(repo_id, host)
    if revision is not None and is_commit(revision):
        candidates = [revision]
    else:
        cached = None
        with suppress(OSError, ValueError):
            cached = (folder / "refs" / (revision or MAIN)).read_text(encoding="utf-8").strip()
        candidates = [one for one in (HubMemory(repo_id, host).commit_of(revision), cached) if one]
    there = [one for one in dict.fromkeys(candidates) if (folder / "snapshots" / one / file).is_file()]
    if not there:
        return None, None
    # The one that was used before, unless only another has its weights here.
    chosen = next((one for one in there if _is_here(repo_id, folder / "snapshots" / one, host)), there[0])
    others = [one for one in candidates if one != chosen]
    return chosen, others[0] if others else None


def missing_of(model: Model, host: Host) -> list[str]:
    """Which files of a hub model are not here, as far as the hub's list of them is known."""
    listing = HubMemory(model.id, host).listing(model.commit) if model.commit else None
    return _missing(listing, model.path) if listing else []


def _is_here(repo_id: str, snapshot: Path, host: Host) -> bool:
    """Whether all that serving needs is in the snapshot, as far as it is known what that is."""
    listing = HubMemory(repo_id, host).listing(snapshot.name)
    if listing is not None:
        return not _missing(listing, snapshot)
    return weights_missing(snapshot) is None


def _missing(listing: Listing, snapshot: Path) -> list[str]:
    try:
        return missing_files(listing, wanted_files(listing, snapshot), snapshot)
    except ModelNotResolved:
        return ["weights"]


def _from_snapshot(section: ModelSection, commit: str, moved: str | None, host: Host) -> Model:
    snapshot = repository_folder(section.id, host) / "snapshots" / commit
    config = read_config(snapshot / "config.json")
    return Model(
        id=section.id,
        revision=section.revision,
        source="hub",
        path=snapshot,
        here=_is_here(section.id, snapshot, host),
        config=config,
        facts=model_facts(config, section.id),
        commit=commit,
        may_download=section.download != "never",
        checkpoint=_remembered_checkpoint(section.id, commit, host),
        moved=moved,
    )


def _remembered_checkpoint(repo_id: str, commit: str, host: Host) -> Checkpoint | None:
    tensors = HubMemory(repo_id, host).tensors(commit)
    return add_up(tensors) if tensors else None


def _from_record(section: ModelSection, host: Host) -> Model | None:
    """The model as it is recorded, with the folder in the hub's cache where its download will put it."""
    from neuronctl.model.known import known_model

    known = known_model(section.id, section.revision)
    if known is None or known.commit is None or known.config is None:
        return None
    snapshot = repository_folder(section.id, host) / "snapshots" / known.commit
    if (snapshot / "config.json").is_file():
        return _from_snapshot(section, known.commit, None, host)
    return Model(
        id=section.id,
        revision=section.revision,
        source="hub",
        path=snapshot,
        here=False,
        config=known.config,
        facts=model_facts(dict(known.config), section.id),
        commit=known.commit,
        may_download=section.download != "never",
        config_from=f"neuronctl's record of {known.commit}",
    )


def _forbidden(repo_id: str, revision: str | None, part: str, missing: list[str]) -> ModelNotResolved:
    asked = Asked(repo_id, revision)
    are = "are" if part else "is"
    return ModelNotResolved(
        f"{part}{asked} {are} not in the hub's cache on this machine{_named(missing)}, and model.download "
        "forbids to fetch it",
        fix=f"neuronctl models download {repo_id}" + (f" --revision {revision}" if revision else ""),
        code="model.download-forbidden",
    )


def _named(missing: list[str]) -> str:
    if not missing:
        return ""
    more = f" and {len(missing) - 4} more" if len(missing) > 4 else ""
    return f" ({', '.join(missing[:4])}{more})"
