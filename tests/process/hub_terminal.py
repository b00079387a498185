"""A terminal whose hub is the stand-in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.hub.repository import Repository
from tests.hub.sample import make_model_files
from tests.hub.server import Hub
from tests.process.terminal import PROJECT, Said, Terminal

ID = "org/small"
PROFILE = "model: {{id: {id}{more}}}\nbackend: cpu\nserver: {{port: {port}}}\n"


def connect(terminal: Terminal, hub: Hub) -> Terminal:
    """Let the terminal's hub be this one."""
    terminal.env |= {"HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"}
    return terminal


def with_older_client(terminal: Terminal) -> Terminal:
    """Let it use the hub's client that transformers 4.57 wants (below 1.0)."""
    older = PROJECT / ".venv" / "older-hub"
    assert (older / "huggingface_hub").is_dir(), "make setup puts it there"
    terminal.env["PYTHONPATH"] = f"{older}:{terminal.env['PYTHONPATH']}"
    return terminal


def write_profile(terminal: Terminal, repo_id: str = ID, name: str = "p.yaml", **model: Any) -> Path:
    """A profile of a hub model, with further keys of its `model` section."""
    path = terminal.cwd / name
    more = "".join(f", {key}: {value}" for key, value in model.items())
    path.write_text(PROFILE.format(id=repo_id, more=more, port=terminal.port))
    return path


def cache_of(terminal: Terminal, repo_id: str = ID) -> Path:
    """Where the hub's cache has a repository."""
    return terminal.home / ".cache" / "huggingface" / "hub" / f"models--{repo_id.replace('/', '--')}"


def snapshot(terminal: Terminal, commit: str, repo_id: str = ID) -> Path:
    """Where the hub's cache has the files of a commit."""
    return cache_of(terminal, repo_id) / "snapshots" / commit


def refused(said: Said, *words: str) -> Said:
    """The command ended with 41, and says these words and what to type."""
    said.expect(41, *words)
    assert "\n  try: " in said.err, said.err
    return said


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a snapshot."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def fetched(hub: Hub, path: str = "*.safetensors") -> int:
    """Bytes of weights that went over the wire."""
    return hub.sent_bytes(path, host="cdn")


def small(repo_id: str = ID, weight_bytes: int = 400_000, **options: Any) -> Repository:
    """A small model on the hub."""
    how = {key: options.pop(key) for key in ("shards", "config", "seed") if key in options}
    return Repository(repo_id, make_model_files(weight_bytes, **how), **options)
