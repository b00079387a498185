"""A serving Python that has the stand-in for the AWS Neuron SDK."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from neuronctl.stack.assume import assume_stack

HERE = Path(__file__).parent
_PLATFORM_PLUGIN = "[vllm.platform_plugins]\nneuron = vllm_neuron:register\n"


def make_sdk(
    folder: Path,
    sdk: str = "2.28.0",
    plugin: str | None = None,
    *,
    no_metadata: str | None = None,
    no_module: str | None = None,
) -> Path:
    """Make `python`, `neuronx-cc` and the metadata of an SDK's packages in `folder`; gives the Python's path.

    `sdk` and `plugin` are versions as in `neuronctl --stack sdk-2.28.0:0.4.1`. A distribution is left without
    its metadata, and a package to import is left out, where `no_metadata` and `no_module` name one.
    """
    site = folder / "site"
    site.mkdir(parents=True)
    versions = assume_stack(f"sdk-{sdk}" + (f":{plugin}" if plugin else "")).versions
    for name, version in versions.items():
        if name == no_metadata:
            continue
        metadata = site / f"{name.replace('-', '_')}-{version}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        if name == "vllm-neuron":
            (metadata / "entry_points.txt").write_text(_PLATFORM_PLUGIN)
    modules = HERE / "site"
    if no_module is not None:
        modules = folder / "modules"
        modules.mkdir()
        for module in (HERE / "site").iterdir():
            if module.name != no_module:
                (modules / module.name).symlink_to(module)
    path = shlex.quote(f"{site}:{modules}")
    real = shlex.quote(os.path.realpath(sys.executable))
    compiler = shlex.quote(str(HERE / "bin" / "neuronx-cc"))
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={path} exec {real} -S "$@"\n')
    (folder / "neuronx-cc").write_text(f'#!/bin/sh\nexec {real} -S {compiler} "$@"\n')
    for file in (python, folder / "neuronx-cc"):
        file.chmod(0o755)
    return python
