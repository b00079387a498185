"""Protocol: which answer the hub, or its CDN, gives to a request."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import mimetypes
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

from tests.hub.answer import Answer, answer_error, answer_json, answer_redirect
from tests.hub.model_card import (
    PROPERTIES,
    describe_commit,
    describe_entry,
    describe_model,
    expand_model,
    list_model,
)
from tests.hub.repository import Commit, Repository, StoredFile
from tests.hub.request_log import Host

# What may follow a model's id in a path of the API. An id of one part is told from one of two by it.
_PARTS = {"auth-check", "commits", "paths-info", "refs", "revision", "tree"}
_EXPANDED_PAGE_SIZE = 50
_NOT_A_PAGE = answer_error(404, "Sorry, we can't find the page you are looking for.")


@dataclass(frozen=True)
class Token:
    """Whom a bearer token stands for. A fine-grained token may not reach gated repositories at all."""

    user: str
    reads_gated: bool = True


@dataclass(frozen=True)
class Asked:
    """A request as it came. `target` is the path with its query, still encoded."""

    method: str
    host: Host
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def raw_path(self) -> str:
        """The path as it came; an encoded slash in it belongs to a name."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """What follows the path."""
        return self.target.partition("?")[2]

    @property
    def parts(self) -> list[str]:
        """The parts of the path, decoded."""
        return [unquote(part) for part in self.raw_path.strip("/").split("/")]

    @property
    def range(self) -> str | None:
        """The range that was asked for."""
        return self.headers.get("Range")

    @property
    def bearer(self) -> str | None:
        """The token, None where no Authorization came."""
        authorization = self.headers.get("Authorization")
        return None if authorization is None else authorization.removeprefix("Bearer ").strip()

    def values(self, name: str) -> list[str]:
        """All values of a query parameter, which may also be written with [] after its name."""
        return [value for key, value in parse_qsl(self.query) if key in (name, f"{name}[]")]

    def flag(self, name: str) -> bool:
        """Whether a query parameter says yes. One client writes True, the other true."""
        return any(value.lower() in ("true", "1") for value in self.values(name))

    def number(self, name: str, default: int) -> int:
        """A query parameter that is a number."""
        values = [value for value in self.values(name) if value.isdigit()]
        return int(values[-1]) if values else default

    def form(self) -> dict[str, list[str]]:
        """The fields of the body, whether it is JSON or a form."""
        if "json" in (self.headers.get("Content-Type") or ""):
            loaded = json.loads(self.body)
            return {
                key: [str(one) for one in value] if isinstance(value, list) else [str(value)]
                for key, value in loaded.items()
            }
        fields: dict[str, list[str]] = {}
        for key, value in parse_qsl(self.body.decode(), keep_blank_values=True):
            fields.setdefault(key.removesuffix("[]"), []).append(value)
        return fields


class Protocol:
    """The repositories and tokens of a hub, and what it answers.

    `page_size` is the most that one page of a listing has. With `resolve_cache` the hub sends those who ask
    for a file of a public repository on to an address that has the commit in it, as the real one does.
    Without `tells_blobs` a model's info has the names of its files only, as some mirrors of the hub have it.
    """

    def __init__(
        self, *, page_size: int = 1000, resolve_cache: bool = True, tells_blobs: bool = True
    ) -> None:
        self.page_size = page_size
        self.resolve_cache = resolve_cache
        self.tells_blobs = tells_blobs
        self.endpoint = ""
        self.cdn = ""
        self._repositories: dict[str, Repository] = {}
        self._renamed: dict[str, str] = {}
        self._tokens: dict[str, Token] = {}
        self._lock = threading.Lock()

    def add(self, repo: Repository) -> None:
        """Put a repository on the hub."""
        with self._lock:
            self._repositories[repo.id] = repo

    def rename(self, old: str, new: str) -> None:
        """Give a repository another id; the old one leads to it."""
        with self._lock:
            if old in self._repositories:
                self._repositories[new] = self._repositories.pop(old)
                self._repositories[new].id = new
            self._renamed[old] = new

    def add_token(self, token: str, whose: Token) -> None:
        """Make a token known."""
        with self._lock:
            self._tokens[token] = whose

    def answer(self, asked: Asked) -> Answer:
        """What is answered if nothing goes wrong."""
        if asked.host == "cdn":
            return self._from_cdn(asked)
        parts = asked.parts
        if asked.bearer is not None and self._token(asked) is None:
            wrong = "Invalid user token." if parts[-1] == "whoami-v2" else _INVALID_CREDENTIALS
            return answer_error(401, wrong)
        if parts == ["api", "whoami-v2"]:
            return self._whoami(asked)
        if parts[:2] == ["api", "models"]:
            return self._api(asked, parts[2:]) if len(parts) > 2 else self._list_models(asked)
        if parts[:3] == ["api", "resolve-cache", "models"]:
            return self._resolve(asked, parts[3:], cached=True)
        return self._resolve(asked, parts, cached=False)

    # Access

    def _token(self, asked: Asked) -> Token | None:
        with self._lock:
            return self._tokens.get(asked.bearer or "")

    def _repository(self, repo_id: str) -> Repository | None:
        with self._lock:
            return self._repositories.get(repo_id)

    def _moved_to(self, repo_id: str) -> str | None:
        with self._lock:
            return self._renamed.get(repo_id)

    def _refusal(self, asked: Asked, repo: Repository | None, *, content: bool) -> Answer | None:
        """Why the caller may not have it. What a gated model is and which files it has, everyone may know."""
        token = self._token(asked)
        reader = repo is not None and token is not None and token.user in repo.readers
        if repo is None or (repo.private and not reader):
            # Nobody learns whether a repository exists that is not theirs to see.
            if token is None:
                return answer_error(401, "Invalid username or password.", "RepoNotFound")
            return answer_error(404, "Repository not found", "RepoNotFound")
        if repo.disabled:
            return answer_error(403, "Access to this resource is disabled.")
        if repo.gated and content:
            restricted = f"Access to model {repo.id} is restricted"
            if token is None:
                told = f"{restricted}. You must have access to it and be authenticated to access it."
                return answer_error(401, f"{told} Please log in.", "GatedRepo")
            if not token.reads_gated:
                return answer_error(403, _NO_GATED_ACCESS)
            if not reader:
                told = f"{restricted} and you are not in the authorized list."
                return answer_error(
                    403, f"{told} Visit {self.endpoint}/{repo.id} to ask for access.", "GatedRepo"
                )
        return None

    def _whoami(self, asked: Asked) -> Answer:
        token = self._token(asked)
        if token is None:
            return answer_error(401, "Invalid username or password.")
        access = {"displayName": "stand-in", "role": "read"}
        auth = {"type": "access_token", "accessToken": access}
        who = {"type": "user", "name": token.user, "fullname": token.user, "orgs": []}
        return answer_json({**who, "auth": auth})

    # The API

    def _api(self, asked: Asked, parts: list[str]) -> Answer:
        length = 1 if len(parts) == 1 or parts[1] in _PARTS else 2
        repo_id, rest = "/".join(parts[:length]), parts[length:]
        if moved := self._moved_to(repo_id):
            target = asked.target.replace(f"/api/models/{repo_id}", f"/api/models/{moved}", 1)
            return answer_redirect(307, target)
        repo = self._repository(repo_id)
        part = rest[0] if rest else "revision"
        if refusal := self._refusal(asked, repo, content=part == "auth-check"):
            return refusal
        assert repo is not None, "refused otherwise"
        if part == "auth-check":
            may_not_write = answer_error(403, "You don't have the rights to write to this repository.")
            return may_not_write if rest[1:] else answer_json({"status": "ok"})
        if part == "refs":
            return answer_json(_refs(repo, pull_requests=asked.flag("include_prs")))
        revision = rest[1] if len(rest) > 1 else "main"
        commit = repo.find(revision)
        if commit is None:
            return _no_revision(revision)
        if part == "revision":
            return _info(asked, repo, commit, blobs=self.tells_blobs and asked.flag("blobs"))
        if part == "tree":
            return self._tree(asked, commit, "/".join(rest[2:]).strip("/"))
        if part == "paths-info" and asked.method == "POST":
            return _paths_info(asked, commit)
        if part == "commits":
            formatted = "formatted" in asked.values("expand")
            told = [describe_commit(one, formatted=formatted) for one in commit.history()]
            return self._page(asked, told, self.page_size)
        return _NOT_A_PAGE

    def _list_models(self, asked: Asked) -> Answer:
        token = self._token(asked)
        with self._lock:
            repositories = list(self._repositories.values())
        wanted = [word.lower() for word in asked.values("search")]
        properties = asked.values("expand")
        if unknown := set(properties) - PROPERTIES:
            return _bad_expand(unknown)
        listed = []
        for repo in repositories:
            if repo.private and (token is None or token.user not in repo.readers):
                continue
            told = describe_model(repo, repo.head)
            if (
                all(word in repo.id.lower() for word in wanted)
                and all(told.get("author") == author for author in asked.values("author"))
                and set(asked.values("filter")) <= set(told["tags"])
                and all(told.get("pipeline_tag") == tag for tag in asked.values("pipeline_tag"))
            ):
                listed.append((repo, told))
        for key in asked.values("sort")[:1]:
            listed.sort(key=lambda one: (one[1].get(key) is not None, one[1].get(key)), reverse=True)
        told_of = [
            list_model(repo, properties, full=asked.flag("full"), config=asked.flag("config"))
            for repo, _ in listed
        ]
        return self._page(asked, told_of, asked.number("limit", self.page_size))

    def _tree(self, asked: Asked, commit: Commit, folder: str) -> Answer:
        if folder not in commit.trees:
            named = f"{folder} does not exist on this revision"
            return answer_error(404, named, "EntryNotFound", X_Repo_Commit=commit.sha)
        expand, deep = asked.flag("expand"), asked.flag("recursive")
        inside = [path for path in _entries(commit) if path.startswith(f"{folder}/" if folder else "")]
        if not deep:
            inside = [path for path in inside if path.rpartition("/")[0] == folder]
        told = [describe_entry(path, commit, expand=expand) for path in inside]
        size = min(self.page_size, _EXPANDED_PAGE_SIZE) if expand else self.page_size
        return self._page(asked, told, asked.number("limit", size))

    def _page(self, asked: Asked, entries: Sequence[Any], limit: int) -> Answer:
        """The part of a listing that the cursor names, with a link to the next one."""
        limit = max(1, min(limit, self.page_size))
        begin = _read_cursor(asked.values("cursor"))
        headers = {}
        if begin + limit < len(entries):
            kept = [(key, value) for key, value in parse_qsl(asked.query) if key != "cursor"]
            query = urlencode([*kept, ("cursor", _make_cursor(begin + limit))])
            headers["Link"] = f'<{self.endpoint}{asked.raw_path}?{query}>; rel="next"'
        return answer_json(entries[begin : begin + limit], **headers)

    # Files

    def _resolve(self, asked: Asked, parts: list[str], *, cached: bool) -> Answer:
        found = _split_resolve(parts, cached=cached)
        if found is None or asked.method not in ("GET", "HEAD"):
            return _NOT_A_PAGE
        repo_id, revision, path = found
        if moved := self._moved_to(repo_id):
            return answer_redirect(307, asked.target.replace(f"/{repo_id}/", f"/{moved}/", 1))
        repo = self._repository(repo_id)
        if refusal := self._refusal(asked, repo, content=True):
            return refusal
        assert repo is not None, "refused otherwise"
        commit = repo.find(revision)
        if commit is None:
            return _no_revision(revision)
        file = commit.files.get(path)
        if file is None:
            return answer_error(404, "Entry not found", "EntryNotFound", X_Repo_Commit=commit.sha)
        headers = {"X-Repo-Commit": commit.sha, "Accept-Ranges": "bytes"}
        if file.lfs:
            linked = {"X-Linked-Size": str(file.blob.size), "X-Linked-Etag": f'"{file.etag}"'}
            address = self.cdn + _cdn_path(repo, commit, path)
            return answer_redirect(302, address, **headers, **linked)
        if self.resolve_cache and not cached and not repo.private and not repo.gated:
            address = f"/api/resolve-cache/models/{quote(f'{repo.id}/{commit.sha}/{path}')}"
            etag = quote(f'"{file.etag}"')
            linked = {"X-Linked-Size": str(file.blob.size), "X-Linked-Etag": f'"{file.etag}"'}
            return answer_redirect(
                307, f"{address}?{quote(asked.raw_path)}=&etag={etag}", **headers, **linked
            )
        return _content(path, file, headers)

    def _from_cdn(self, asked: Asked) -> Answer:
        """A file that Git LFS holds; who has the signed address may have it, and is not asked for a token."""
        folder, *rest = asked.parts
        length = next((place for place, part in enumerate(rest) if len(part) == 40), 0)
        repo = self._repository("/".join(rest[:length]))
        commit = repo.find(rest[length]) if repo and length else None
        path = "/".join(rest[length + 1 :])
        file = commit.files.get(path) if commit else None
        if folder != "cdn" or repo is None or commit is None or file is None:
            return answer_error(404, "NoSuchKey")
        if asked.target != _cdn_path(repo, commit, path):
            return answer_error(403, "AccessDenied")
        return _content(path, file, {"Accept-Ranges": "bytes"})


_INVALID_CREDENTIALS = "Invalid credentials in Authorization header"
_NO_GATED_ACCESS = (
    "Please enable access to public gated repositories in your fine-grained token settings"
    " to view this repository."
)


def _no_revision(revision: str) -> Answer:
    return answer_error(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def _bad_expand(unknown: set[str]) -> Answer:
    return answer_error(400, f"Invalid option for expand: {', '.join(sorted(unknown))}")


def _info(asked: Asked, repo: Repository, commit: Commit, *, blobs: bool) -> Answer:
    properties = asked.values("expand")
    if unknown := set(properties) - PROPERTIES:
        return _bad_expand(unknown)
    if properties:
        return answer_json(expand_model(repo, commit, properties))
    told = describe_model(repo, commit, blobs=blobs)
    if asked.flag("securityStatus"):
        told["securityRepoStatus"] = {"scansDone": True, "filesWithIssues": []}
    return answer_json(told)


def _refs(repo: Repository, *, pull_requests: bool) -> dict[str, list[dict[str, str]]]:
    kinds = {"branches": "refs/heads/", "tags": "refs/tags/", "converts": "refs/convert/"}
    if pull_requests:
        kinds["pullRequests"] = "refs/pr/"
    refs = sorted(repo.refs().items())
    return {
        kind: [
            {"name": ref.removeprefix(prefix), "ref": ref, "targetCommit": sha}
            for ref, sha in refs
            if ref.startswith(prefix)
        ]
        for kind, prefix in kinds.items()
    }


def _paths_info(asked: Asked, commit: Commit) -> Answer:
    fields = asked.form()
    expand = any(value.lower() == "true" for value in fields.get("expand", ()))
    paths = dict.fromkeys(path.strip("/") for path in fields.get("paths", ()))
    told = [describe_entry(path, commit, expand=expand) for path in paths]
    return answer_json([entry for entry in told if entry is not None])


def _entries(commit: Commit) -> Iterator[str]:
    """All folders and files of a commit, each folder before what is in it."""
    yield from sorted({*commit.files, *(folder for folder in commit.trees if folder)})


def _split_resolve(parts: list[str], *, cached: bool) -> tuple[str, str, str] | None:
    """Id, revision and file of an address of a file; None for what is none."""
    if cached:
        length = next((place for place, part in enumerate(parts) if len(part) == 40), 0)
        found = parts[:length], parts[length:]
    else:
        length = next((place for place in (1, 2) if parts[place : place + 1] == ["resolve"]), 0)
        found = parts[:length], parts[length + 1 :]
    repo_id, rest = found
    return ("/".join(repo_id), rest[0], "/".join(rest[1:])) if repo_id and len(rest) > 1 else None


def _content(path: str, file: StoredFile, headers: Mapping[str, str]) -> Answer:
    name = path.rpartition("/")[2]
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    text = kind.startswith("text/") or name.endswith((".json", ".jinja"))
    told = {
        "Content-Type": "text/plain; charset=utf-8" if text else kind,
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(name)}; filename=\"{name}\";",
        "ETag": f'"{file.etag}"',
    }
    return Answer(200, file.blob, {**told, **headers}, ranges=True)


def _cdn_path(repo: Repository, commit: Commit, path: str) -> str:
    """The signed address of a file. It ends with the file's name, so that a pattern fits it and the hub's."""
    plain = quote(f"/cdn/{repo.id}/{commit.sha}/{path}")
    return f"{plain}?Signature={hashlib.sha256(plain.encode()).hexdigest()[:32]}"


def _make_cursor(begin: int) -> str:
    return base64.urlsafe_b64encode(json.dumps({"$begin": begin}).encode()).decode()


def _read_cursor(values: Sequence[str]) -> int:
    try:
        return int(json.loads(base64.urlsafe_b64decode(values[0]))["$begin"]) if values else 0
    except (ValueError, KeyError, TypeError, binascii.Error):
        return 0
