"""Where the hub is, and its cache on this machine, by the variables that huggingface_hub reads."""

from __future__ import annotations

from pathlib import Path

from neuronctl.errors import ModelNotResolved
from neuronctl.host import Host
from neuronctl.secret import hide_passwords

ENDPOINT = "https://huggingface.co"
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
FLAG = "--offline"
# What the client takes for true (huggingface_hub/constants.py).
_TRUE = {"1", "ON", "YES", "TRUE"}


def hub_cache(host: Host) -> Path:
    """The hub's cache folder by Hugging Face's own variables, as this Host has them."""
    if cache := host.environ.get("HF_HUB_CACHE") or host.environ.get("HUGGINGFACE_HUB_CACHE"):
        return host.expand(cache)
    return _hub_home(host) / "hub"


def token_file(host: Host) -> Path:
    """Where `hf auth login` keeps the token (huggingface_hub/constants.py, HF_TOKEN_PATH)."""
    if named := host.environ.get("HF_TOKEN_PATH"):
        return host.expand(named)
    return _hub_home(host) / "token"


def _hub_home(host: Host) -> Path:
    if home := host.environ.get("HF_HOME"):
        return host.expand(home)
    cache_home = host.environ.get("XDG_CACHE_HOME")
    return (Path(cache_home) if cache_home else host.home / ".cache") / "huggingface"


def repository_folder(repo_id: str, host: Host) -> Path:
    """Where the hub's cache has a repository: `blobs`, `refs` and `snapshots` are in it."""
    return hub_cache(host) / f"models--{repo_id.replace('/', '--')}"


def snapshot_folder(repo_id: str, commit: str, host: Host) -> Path:
    """Where it has the files of a commit."""
    return repository_folder(repo_id, host) / "snapshots" / commit


def endpoint_of(host: Host) -> str:
    """The hub's address: `HF_ENDPOINT`, else the public one."""
    return (host.environ.get("HF_ENDPOINT") or ENDPOINT).rstrip("/")


def shown_endpoint(host: Host) -> str:
    """The hub's address without a password that may be in it, to be shown."""
    return hide_passwords(endpoint_of(host))


def offline_by(host: Host) -> str | None:
    """What forbids to ask the hub: `--offline`, or a variable, as `HF_HUB_OFFLINE=1`; None if nothing."""
    if host.offline:
        return FLAG
    for name in _OFFLINE:
        if host.environ.get(name, "").upper() in _TRUE:
            return f"{name}={host.environ[name]}"
    return None


def offline_error(what: str, variable: str) -> ModelNotResolved:
    """The error for what is not here, where offline_by's answer, `variable`, forbids to ask the hub."""
    return ModelNotResolved(
        what,
        fix=f"{online_again(variable)}, or download it elsewhere and copy the hub's cache here",
        code="model.not-downloaded",
    )


def online_again(variable: str) -> str:
    """What to type so that offline_by's answer, `variable`, no longer forbids anything."""
    return f"leave {FLAG} out" if variable == FLAG else f"unset {variable.partition('=')[0]}"
