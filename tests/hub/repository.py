"""Repository: a model on the stand-in hub, with its commits, branches and tags."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from tests.hub.blob import Blob, Content, git_object_id, make_blob

# What a new repository's .gitattributes hands to Git LFS, as far as models have such files.
LFS_PATTERNS = (
    *("*.bin", "*.gguf", "*.h5", "*.model", "*.msgpack", "*.onnx", "*.pt", "*.pth", "*.safetensors"),
    *("*.tar.gz", "*.zip"),
)
# The hub takes no larger file into git itself.
LFS_ABOVE_BYTES = 10 * 1024 * 1024
# Commits have times of their own, so that the same commits have the same ids in every run.
_FIRST_COMMIT = datetime(2024, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class StoredFile:
    """A file of a commit: its content, and whether Git LFS holds it."""

    blob: Blob
    lfs: bool

    @property
    def git_id(self) -> str:
        """The id of what git holds: the content, or the pointer to it."""
        return git_object_id("blob", self.blob.pointer) if self.lfs else self.blob.git_id

    @property
    def etag(self) -> str:
        """By which clients name the content in their caches."""
        return self.blob.sha256 if self.lfs else self.blob.git_id


@dataclass(frozen=True)
class Commit:
    """One state of a repository. `trees` are the ids of its folders, the root's under the empty name."""

    sha: str
    title: str
    date: datetime
    parent: Commit | None
    files: Mapping[str, StoredFile]
    trees: Mapping[str, str]

    def history(self) -> Iterator[Commit]:
        """This commit and those before it, newest first."""
        commit: Commit | None = self
        while commit is not None:
            yield commit
            commit = commit.parent

    def last_change(self, path: str) -> Commit:
        """The commit that gave a file or folder its content of now."""
        found = self
        for commit in self.history():
            if commit.entry_id(path) != self.entry_id(path):
                break
            found = commit
        return found

    def entry_id(self, path: str) -> str | None:
        """The git id of a file or folder, None for neither."""
        file = self.files.get(path)
        return file.git_id if file else self.trees.get(path)

    def load_json(self, path: str) -> dict[str, Any]:
        """A JSON file's object; empty where there is none."""
        file = self.files.get(path)
        if file is None:
            return {}
        try:
            loaded = json.loads(file.blob.read(0, file.blob.size))
        except ValueError:
            return {}
        return loaded if isinstance(loaded, dict) else {}

    def parameters(self) -> dict[str, int]:
        """How many numbers of each type the safetensors of the model hold; empty where there are none."""
        names: Iterable[str] = ["model.safetensors"]
        if "model.safetensors" not in self.files:
            weight_map = self.load_json("model.safetensors.index.json").get("weight_map")
            names = sorted(set(weight_map.values())) if isinstance(weight_map, dict) else []
        counts: dict[str, int] = {}
        for name in names:
            file = self.files.get(name)
            for dtype, shape in _tensors(file.blob) if file else ():
                counts[dtype] = counts.get(dtype, 0) + math.prod(shape)
        return counts


def _tensors(blob: Blob) -> Iterator[tuple[str, list[int]]]:
    """Type and shape of each tensor of a safetensors file; nothing for a file that is none."""
    length = int.from_bytes(blob.read(0, 8), "little")
    try:
        header = json.loads(blob.read(8, length)) if length < blob.size else {}
        for name, tensor in header.items():
            if name != "__metadata__":
                yield tensor["dtype"], tensor["shape"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return


@dataclass
class Repository:
    """A model of the hub. `id` is org/name, or a name alone as old models have it.

    `files` are those of the first commit. `readers` are the users that may read a private repository, or
    whom a gated one has granted access. `about` is merged into what the hub tells of the model, for example
    {"downloads": 5, "tags": ["x"]}. Which files Git LFS holds: those whose name matches `lfs_patterns`, and
    all above `lfs_above_bytes`.
    """

    id: str
    files: Mapping[str, Content] = field(default_factory=dict, repr=False)
    private: bool = False
    gated: Literal[False, "auto", "manual"] = False
    disabled: bool = False
    readers: set[str] = field(default_factory=set)
    about: Mapping[str, Any] = field(default_factory=dict)
    lfs_patterns: Iterable[str] = LFS_PATTERNS
    lfs_above_bytes: int = LFS_ABOVE_BYTES
    _refs: dict[str, str] = field(default_factory=dict, init=False, repr=False)
    _commits: dict[str, Commit] = field(default_factory=dict, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        self.commit(self.files, title="initial commit")

    @classmethod
    def from_folder(cls, repo_id: str, folder: Path, **options: Any) -> Repository:
        """A repository with the files of a folder, which are read as they are asked for."""
        files = {
            path.relative_to(folder).as_posix(): path
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not {".git", ".cache"} & set(path.relative_to(folder).parts)
        }
        return cls(repo_id, files, **options)

    def commit(
        self,
        files: Mapping[str, Content],
        *,
        delete: Iterable[str] = (),
        branch: str = "main",
        title: str = "Upload files",
    ) -> str:
        """Add or change files, and move the branch, which begins at main where it is new; the new sha."""
        stored = {path: self._store(path, content) for path, content in files.items()}
        with self._lock:
            ref = _branch_ref(branch)
            parent = self._commits.get(self._refs.get(ref) or self._refs.get("refs/heads/main", ""))
            tree = dict(parent.files) if parent else {}
            tree.update(stored)
            for path in delete:
                del tree[path]
            made = _make_commit(tree, parent, title, len(self._commits))
            self._commits[made.sha] = made
            self._refs[ref] = made.sha
        return made.sha

    def branch(self, name: str, revision: str = "main") -> None:
        """Make a branch, or move it; a full name such as refs/pr/1 is taken as it is."""
        self._point(_branch_ref(name), revision)

    def tag(self, name: str, revision: str = "main") -> None:
        """Make a tag, or move it."""
        self._point(f"refs/tags/{name}", revision)

    def find(self, revision: str) -> Commit | None:
        """The commit that a sha, branch, tag or full name of a ref means."""
        with self._lock:
            for ref in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
                if ref in self._refs:
                    return self._commits[self._refs[ref]]
            return self._commits.get(revision)

    @property
    def head(self) -> Commit:
        """The commit of main."""
        found = self.find("main")
        assert found is not None, "main is made with the repository and never deleted"
        return found

    @property
    def sha(self) -> str:
        """The sha of main's commit."""
        return self.head.sha

    def refs(self) -> dict[str, str]:
        """Full names of branches, tags and others, with the sha of their commits."""
        with self._lock:
            return dict(self._refs)

    def _store(self, path: str, content: Content) -> StoredFile:
        blob = make_blob(content)
        name = path.rpartition("/")[2]
        matches = any(fnmatchcase(name, pattern) for pattern in self.lfs_patterns)
        return StoredFile(blob, matches or blob.size > self.lfs_above_bytes)

    def _point(self, ref: str, revision: str) -> None:
        commit = self.find(revision)
        if commit is None:
            raise KeyError(f"{self.id} has no revision {revision}")
        with self._lock:
            self._refs[ref] = commit.sha


def _branch_ref(name: str) -> str:
    return name if name.startswith("refs/") else f"refs/heads/{name}"


def _make_commit(files: dict[str, StoredFile], parent: Commit | None, title: str, ordinal: int) -> Commit:
    date = _FIRST_COMMIT + timedelta(minutes=ordinal)
    trees: dict[str, str] = {}
    nested: dict[str, Any] = {}
    for path, file in files.items():
        *folders, name = path.split("/")
        place = nested
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = file
    root = _tree_id(nested, "", trees)
    who = f"stand-in <stand-in@localhost> {int(date.timestamp())} +0000"
    parents = [f"parent {parent.sha}"] if parent else []
    lines = [f"tree {root}", *parents, f"author {who}", f"committer {who}"]
    sha = git_object_id("commit", ("\n".join(lines) + f"\n\n{title}\n").encode())
    return Commit(sha, title, date, parent, MappingProxyType(files), MappingProxyType(trees))


def _tree_id(folder: Mapping[str, Any], path: str, trees: dict[str, str]) -> str:
    """The id that git gives to a folder; those of the folders in it go into `trees` too."""
    # Git sorts a folder as if its name ended with a slash.
    ordered = sorted(folder, key=lambda name: name if isinstance(folder[name], StoredFile) else f"{name}/")
    body = b""
    for name in ordered:
        entry = folder[name]
        if isinstance(entry, StoredFile):
            mode, entry_id = "100644", entry.git_id
        else:
            mode, entry_id = "40000", _tree_id(entry, f"{path}/{name}".strip("/"), trees)
        body += f"{mode} {name}\0".encode() + bytes.fromhex(entry_id)
    trees[path] = git_object_id("tree", body)
    return trees[path]
