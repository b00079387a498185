"""Neuron tool: where a program of AWS's tools package lies on this machine."""

from __future__ import annotations

import os

from neuronctl.host import Host

_FOLDER = "/opt/aws/neuron/bin"
NOT_INSTALLED = f"is neither in PATH nor in {_FOLDER}"


def why_not_found(host: Host, name: str) -> str:
    """Why no program `name` is found, as the end of a sentence: one may lie there that may not be run."""
    folders = [*host.environ.get("PATH", "").split(os.pathsep), str(host.path(_FOLDER))]
    for file in (os.path.join(folder, name) for folder in folders if folder):
        if os.path.isfile(file):
            return f"may not be run: {file} lacks the right to execute it"
    return NOT_INSTALLED


def find_neuron_tool(host: Host, name: str) -> str | None:
    """The program `name`: from PATH, else where AWS's package has it, which systemd's PATH lacks."""
    import shutil

    if found := shutil.which(name, path=host.environ.get("PATH", "")):
        return found
    installed = host.path(f"{_FOLDER}/{name}")
    return str(installed) if os.access(installed, os.X_OK) else None
