"""A model of the hub: as the cache, our memory or our records know it; else the hub is asked.

A branch or tag becomes a commit the first time it is met, and stays that commit until somebody asks for news:
so the same profile is the same model tomorrow.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from neuronctl.errors import ModelNotResolved
from neuronctl.host import Host
from neuronctl.model.checkpoint import Checkpoint, add_up
from neuronctl.model.config import model_facts, read_config
from neuronctl.model.download import download_model, wanted_files
from neuronctl.model.hub import fetch_facts, fetch_tensors, look_up, missing_files
from neuronctl.model.hub_error import Asked, in_plain_words
from neuronctl.model.hub_memory import HubMemory
from neuronctl.model.hub_place import offline_by, offline_error, repository_folder, snapshot_folder
from neuronctl.model.listing import MAIN, Listing, is_commit
from neuronctl.model.model import Model
from neuronctl.model.weights import missing_weights, weights_missing
from neuronctl.profile.schema import ModelSection
from neuronctl.result import Tell
from neuronctl.whole_file import write_whole

# What git takes for no name of a branch or tag (git-check-ref-format); some would leave the cache's folder.
_NO_REVISION = re.compile(
    r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|(?:^|/)\.|\.lock(?:/|\Z)|^/|/\Z|\.\Z|^-|^@\Z|^\Z"
)
# Ids that need no closer look; of each there is one way only to match it, so that none takes long.
_PLAIN_ID = re.compile(r"[A-Za-z0-9]+(?:[_-][A-Za-z0-9]+)*(?:/[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*)?")


def find_hub_model(section: ModelSection, host: Host, *, tell: Tell | None = None) -> Model:
    """The model at the commit that its revision is.

    Looked for in this order: the commit that was used of a branch before, and the one that the cache says it
    is, first those of which the weights are here; our own record of a model; the hub, for what says what the
    model is (`config.json`, the headers of the weights). Raises ModelNotResolved.
    """
    pinned = find_commit(section.id, section.revision, host)
    if pinned.commit is not None:
        model = _from_snapshot(section, pinned.commit, host)
    else:
        model = _from_record(section, host) or _from_hub(section, host, tell)
    pinned = replace(pinned, commit=model.commit)
    unremembered = HubMemory(section.id, host).trouble
    return replace(model, moved=pinned.moved, replaces=pinned.replaces, unremembered=unremembered)


@dataclass(frozen=True)
class Pinned:
    """Which commit a revision is here, None where none is.

    `used` is the one that was used of a branch or tag before, as we remember it. `moved` is what the hub's
    cache says that it is by now, where `commit` is the one that was used before.
    """

    commit: str | None
    used: str | None = None
    moved: str | None = None

    @property
    def replaces(self) -> str | None:
        """The commit that was used before, where another has to do."""
        return self.used if self.used != self.commit else None


def find_commit(repo_id: str, revision: str | None, host: Host, file: str | None = "config.json") -> Pinned:
    """The commit to use of those in the hub's cache that have `file`, or anything where that is None.

    Raises ModelNotResolved for what cannot be a hub id, or a revision.
    """
    _check_id(repo_id, host)
    _check_revision(revision)
    folder = repository_folder(repo_id, host)
    if is_commit(revision):
        used, cached = None, revision
    else:
        used, cached = HubMemory(repo_id, host).commit_of(revision), _read_ref(_ref(repo_id, revision, host))
    snapshots = [folder / "snapshots" / one for one in dict.fromkeys((used, cached)) if one is not None]
    there = [one for one in snapshots if ((one / file).is_file() if file else one.is_dir())]
    if not there:
        return Pinned(None, used)
    # The one that was used before, unless only another has its weights here.
    chosen = next((one for one in there if not _missing(repo_id, one, host)), there[0]).name
    return Pinned(chosen, used, moved=cached if cached != chosen else None)


def _ref(repo_id: str, revision: str | None, host: Host) -> Path:
    """The file that says in the hub's cache which commit a branch or tag is."""
    return repository_folder(repo_id, host) / "refs" / (revision or MAIN)


def _read_ref(path: Path) -> str | None:
    with suppress(OSError, ValueError):
        commit = path.read_text(encoding="utf-8").strip()
        return commit if is_commit(commit) else None
    return None


def learn(repo_id: str, revision: str | None, host: Host, *, tell: Tell | None = None) -> Listing:
    """Ask the hub what a model is, and remember it; no weights are fetched. Raises ModelNotResolved."""
    _check_id(repo_id, host)
    listing = look_up(repo_id, revision, host, tell=tell)
    snapshot = fetch_facts(listing, host, tell=tell)
    if not (snapshot / "config.json").is_file():
        raise ModelNotResolved(
            f"{repo_id} has no config.json, which says what the model is",
            fix="choose a repository in Hugging Face layout (config.json, tokenizer, *.safetensors)",
            code="model.no-config",
        )
    fetch_tensors(listing, snapshot, host, tell=tell)
    return listing


def fetch_hub_model(model: Model, host: Host, *, tell: Tell) -> None:
    """Download what is missing of a model. Raises ModelNotResolved, also where that is forbidden."""
    if not model.may_download:
        raise _forbidden(model.id, model.revision, "the weights of ", missing_of(model, host))
    if variable := offline_by(host):
        missing = missing_of(model, host)
        raise offline_error(
            f"{Asked(model.id, model.revision)} is not whole in the hub's cache{_named(missing)}, and "
            f"{variable} forbids to download",
            variable,
        )
    memory = HubMemory(model.id, host)
    known = memory.listing(model.commit) if model.commit else None
    listing = known or look_up(model.id, model.commit or model.revision, host, tell=tell)
    download_model(listing, host, tell=tell)
    # Where the commit is that of our record, the hub's branch may be another by now; and what another tool
    # has written is newer than what we remember.
    ref = _ref(model.id, model.revision, host)
    if memory.commit_of(model.revision) == listing.commit and not ref.exists():
        _write_ref(ref, listing.commit)


def refresh(
    repo_id: str, revision: str | None, host: Host, *, tell: Tell, verify: bool = False
) -> tuple[str | None, Path]:
    """Ask the hub for news of a revision and download it: the commit that it was, and the folder it has now.

    What is here and damaged is fetched again; see download_model, also for `verify`.
    Raises ModelNotResolved.
    """
    before = find_commit(repo_id, revision, host, None)
    if variable := offline_by(host):
        raise offline_error(
            f"{variable} forbids to ask the hub for {Asked(repo_id, revision)}; "
            + _state(repo_id, before.commit, host),
            variable,
        )
    listing = look_up(repo_id, revision, host, tell=tell)
    snapshot = download_model(listing, host, tell=tell, verify=verify)
    if not is_commit(revision):
        _write_ref(_ref(repo_id, revision, host), listing.commit)
        HubMemory(repo_id, host).remember_commit(revision, listing.commit)
    return before.commit or before.used, snapshot


def _state(repo_id: str, commit: str | None, host: Host) -> str:
    """What of a repository is here, in words."""
    if commit is None:
        return "nothing of it is here"
    missing = _missing(repo_id, snapshot_folder(repo_id, commit, host), host)
    return f"commit {commit} is here, " + (f"without {_some(missing)}" if missing else "and whole")


def _write_ref(ref: Path, commit: str) -> None:
    """Let a branch or tag lead to a commit in the hub's cache, for other tools too."""
    with suppress(OSError):  # others then do not find it by its branch
        ref.parent.mkdir(parents=True, exist_ok=True)
        write_whole(ref, commit.encode())


def find_snapshot(repo_id: str, revision: str | None, host: Host, file: str = "config.json") -> Path | None:
    """The folder in the hub's cache that holds a revision of a repository, if `file` is in it.

    Raises ModelNotResolved for what cannot be a hub id.
    """
    commit = find_commit(repo_id, revision, host, file).commit
    return snapshot_folder(repo_id, commit, host) if commit else None


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


def _check_revision(revision: str | None) -> None:
    if revision is not None and _NO_REVISION.search(revision):
        raise ModelNotResolved(
            f"{revision!r} cannot be a revision: git allows no such name",
            fix="give a commit, tag or branch that the model's page lists (model.revision, --revision)",
            code="model.bad-revision",
        )


def missing_of(model: Model, host: Host) -> list[str]:
    """Which files of a hub model are not here, as far as it is known which it has."""
    return _missing(model.id, model.path, host) if model.path.is_dir() else []


def _missing(repo_id: str, snapshot: Path, host: Host) -> list[str]:
    """What serving needs and the snapshot lacks, by the hub's list of files, else by the weights' index."""
    listing = HubMemory(repo_id, host).listing(snapshot.name)
    try:
        if listing is not None:
            return missing_files(listing, wanted_files(listing, snapshot), snapshot)
        return missing_weights(snapshot) or ([] if weights_missing(snapshot) is None else ["weights"])
    except ModelNotResolved:
        return ["weights"]


def _from_snapshot(section: ModelSection, commit: str, host: Host) -> Model:
    snapshot = snapshot_folder(section.id, commit, host)
    config = read_config(snapshot / "config.json")
    missing = _missing(section.id, snapshot, host)
    if missing and (listing := HubMemory(section.id, host).listing(commit)):
        wanted_files(listing, snapshot)  # what the hub itself lacks is no model, before and after a download
    return Model(
        id=section.id,
        revision=section.revision,
        source="hub",
        path=snapshot,
        here=not missing,
        config=config,
        facts=model_facts(config, section.id),
        commit=commit,
        may_download=section.download != "never",
        checkpoint=_remembered_checkpoint(section.id, commit, host),
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
    snapshot = snapshot_folder(section.id, known.commit, host)
    if (snapshot / "config.json").is_file():
        return _from_snapshot(section, known.commit, host)
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


def _from_hub(section: ModelSection, host: Host, tell: Tell | None) -> Model:
    """The model as the hub has it, of which nothing is here. Raises ModelNotResolved."""
    if section.download == "never":
        raise _forbidden(section.id, section.revision, "", [])
    if variable := offline_by(host):
        asked = Asked(section.id, section.revision)
        raise offline_error(
            f"{asked} is not in the hub's cache on this machine, and {variable} forbids to ask the hub",
            variable,
        )
    commit = learn(section.id, section.revision, host, tell=tell).commit
    model = _from_snapshot(section, commit, host)
    # Not before it is known to be a model: the next attempt has to see what its owner has mended.
    HubMemory(section.id, host).remember_commit(section.revision, commit)
    return model


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
    return f" ({_some(missing)})" if missing else ""


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"{', '.join(names[:4])}{more}"
