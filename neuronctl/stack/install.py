"""What to type to install a plugin of an SDK."""

from __future__ import annotations

import shlex
from pathlib import Path

from neuronctl.stack.compat import PluginRelease, Sdk, imports
from neuronctl.stack.pip_index import AWS_HOST
from neuronctl.stack.version import fits_any, newest

PIP_REPOSITORY = f"https://{AWS_HOST}"
_PLUGIN_SOURCE = "git+https://github.com/vllm-project/vllm-neuron.git"


def pip_words(python: Path, *words: str) -> str:
    """What to type so that the pip of this very Python does something, quoted for a shell."""
    return shlex.join([str(python), "-m", "pip", *words])


def install_words(sdk: Sdk, plugin: PluginRelease, python: Path) -> str:
    """What to type to install this plugin with this SDK into `python`: `pip install` with exact pins.

    The plugin comes from the pip repository where the SDK's manifest has it, else from the branch that its
    image is built from. Where neither is known the image is named instead.
    """
    in_manifest = fits_any(plugin.version, sdk.packages.get("vllm-neuron", ()))
    if not in_manifest and plugin.branch is None:
        return f"docker pull {plugin.image}"
    words = ["install", f"--extra-index-url={PIP_REPOSITORY}"]
    for name in imports(plugin.generation, plugin):
        if version := newest(sdk.wants(name, plugin)):
            words.append(f"{name}=={version}")
    words.append(f"vllm-neuron=={plugin.version}" if in_manifest else f"{_PLUGIN_SOURCE}@{plugin.branch}")
    return pip_words(python, *words)
