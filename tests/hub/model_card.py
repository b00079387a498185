"""What the hub tells of a model and its files, as the JSON of its API."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from tests.hub.repository import Commit, Repository, StoredFile

# What a caller may ask for by `expand`; anything else is a bad request.
PROPERTIES = frozenset(
    {
        *("author", "baseModels", "cardData", "childrenModelCount", "config", "createdAt", "disabled"),
        *("downloads", "downloadsAllTime", "evalResults", "gated", "gguf", "inference"),
        *("inferenceProviderMapping", "lastModified", "library_name", "likes", "mask_token", "model-index"),
        *("pipeline_tag", "private", "resourceGroup", "safetensors", "sha", "siblings", "spaces", "tags"),
        *("transformersInfo", "trendingScore", "usedStorage", "widgetData"),
    }
)
# What a list of models tells of each without being asked for more, and with `full`.
_LISTED = ("createdAt", "downloads", "library_name", "likes", "pipeline_tag", "private", "tags")
_LISTED_IN_FULL = (*_LISTED, "author", "gated", "lastModified", "sha", "siblings")


def format_date(moment: datetime) -> str:
    """A moment as the hub writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def describe_model(repo: Repository, commit: Commit, *, blobs: bool = False) -> dict[str, Any]:
    """All that is told of a model at a commit; `blobs` adds sizes and hashes to its files."""
    config, tokenizer = commit.load_json("config.json"), commit.load_json("tokenizer_config.json")
    library = "transformers" if config else None
    told: dict[str, Any] = {
        **_identity(repo),
        "private": repo.private,
        "gated": repo.gated,
        "disabled": repo.disabled,
        "author": repo.id.partition("/")[0] if "/" in repo.id else None,
        "sha": commit.sha,
        "createdAt": format_date(list(commit.history())[-1].date),
        "lastModified": format_date(commit.date),
        "downloads": 0,
        "likes": 0,
        "library_name": library,
        "pipeline_tag": "text-generation" if library else None,
        "tags": _tags(library, config, commit),
        "spaces": [],
        "siblings": [_sibling(path, commit.files[path], blobs) for path in sorted(commit.files)],
        "usedStorage": sum(file.blob.size for file in commit.files.values()),
    }
    if config:
        kept = ("architectures", "auto_map", "model_type", "quantization_config")
        told["config"] = {key: config[key] for key in kept if key in config}
        if tokenizer:
            told["config"]["tokenizer_config"] = tokenizer
    if parameters := commit.parameters():
        told["safetensors"] = {"parameters": parameters, "total": sum(parameters.values())}
    told.update(repo.about)
    return {key: value for key, value in told.items() if value is not None}


def expand_model(repo: Repository, commit: Commit, properties: Iterable[str]) -> dict[str, Any]:
    """Only what was asked for, and which model it is."""
    told = describe_model(repo, commit)
    return {**_identity(repo), **{key: told[key] for key in properties if key in told}}


def list_model(repo: Repository, properties: Iterable[str], *, full: bool, config: bool) -> dict[str, Any]:
    """A model in a list of several."""
    wanted = list(properties) or [*(_LISTED_IN_FULL if full else _LISTED), *(["config"] if config else [])]
    return expand_model(repo, repo.head, wanted)


def describe_entry(path: str, commit: Commit, *, expand: bool) -> dict[str, Any] | None:
    """A file or folder as a listing of the tree has it; None for what is neither."""
    told: dict[str, Any]
    if file := commit.files.get(path):
        told = {"type": "file", "oid": file.git_id, "size": file.blob.size, "path": path}
        if file.lfs:
            told["lfs"] = {
                "oid": file.blob.sha256,
                "size": file.blob.size,
                "pointerSize": len(file.blob.pointer),
            }
    elif path and path in commit.trees:
        told = {"type": "directory", "oid": commit.trees[path], "size": 0, "path": path}
    else:
        return None
    if expand:
        last = commit.last_change(path)
        told["lastCommit"] = {"id": last.sha, "title": last.title, "date": format_date(last.date)}
        if file:
            told["securityFileStatus"] = {"status": "safe", "avScan": None, "pickleImportScan": None}
    return told


def describe_commit(commit: Commit, *, formatted: bool) -> dict[str, Any]:
    """A commit in the history of a branch."""
    told: dict[str, Any] = {
        "id": commit.sha,
        "title": commit.title,
        "message": "",
        "authors": [{"user": "stand-in", "avatar": ""}],
        "date": format_date(commit.date),
    }
    if formatted:
        told["formatted"] = {"title": commit.title, "message": ""}
    return told


def _identity(repo: Repository) -> dict[str, Any]:
    return {"_id": hashlib.sha1(repo.id.encode()).hexdigest()[:24], "id": repo.id, "modelId": repo.id}


def _tags(library: str | None, config: dict[str, Any], commit: Commit) -> list[str]:
    tags = [library] if library else []
    if any(path.endswith(".safetensors") for path in commit.files):
        tags.append("safetensors")
    if isinstance(kind := config.get("model_type"), str):
        tags.append(kind)
    return [*tags, "region:us"]


def _sibling(path: str, file: StoredFile, blobs: bool) -> dict[str, Any]:
    told: dict[str, Any] = {"rfilename": path}
    if blobs:
        told.update(size=file.blob.size, blobId=file.git_id)
        if file.lfs:
            told["lfs"] = {
                "sha256": file.blob.sha256,
                "size": file.blob.size,
                "pointerSize": len(file.blob.pointer),
            }
    return told
