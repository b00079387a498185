"""The hub: what it says of a repository, without its weights. The only module that asks it in this process.

Built on huggingface_hub and its conventions: the shared cache, `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`.
Used of it is only what its versions 0.34 to 2.4 have alike: transformers 4.57, which serves on Neuron, wants
one below 1.0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from json import JSONDecodeError
from pathlib import Path, PurePosixPath
from threading import Event
from time import monotonic
from typing import Any, TypeVar

from neuronctl.errors import ModelNotResolved
from neuronctl.host import Host
from neuronctl.model.hub_error import Asked, in_plain_words, no_hub, with_near_matches
from neuronctl.model.hub_memory import HubMemory
from neuronctl.model.hub_place import (
    endpoint_of,
    offline_by,
    offline_error,
    snapshot_folder,
)
from neuronctl.model.hub_setting import check_importable
from neuronctl.model.hub_stream import open_stream
from neuronctl.model.listing import HubFile, Listing, TensorRow, is_commit
from neuronctl.model.patience import UNTOLD_S, Waiting
from neuronctl.model.receive import Order, receive_file
from neuronctl.model.safetensors import LARGEST_HEADER_BYTES, read_rows
from neuronctl.model.selection import index_of, small_files, weight_files
from neuronctl.model.weights import named_by_index
from neuronctl.result import Message, Tell

TIMEOUT_S = 10.0
# Pauses before a question is asked again that the hub could not answer.
_WAITS_S = (1.0, 3.0)
# What the hub may ask for instead.
_LONGEST_WAIT_S = 60.0
# What is looked into before anything is decided is smaller; a tokenizer may be larger, and can wait.
_FACTS_BYTES = 2 << 20
# Of a header whose length nobody knows yet. A row of it takes some 110 bytes.
_HEADER_GUESS_BYTES = 16 << 10
_ROW_BYTES = 160
_AT_ONCE = 8
_SIMILAR = 50
_SHA = re.compile(r"[0-9a-f]+")

T = TypeVar("T")


def look_up(repo_id: str, revision: str | None, host: Host, *, tell: Tell | None = None) -> Listing:
    """Ask the hub which commit a revision is, and what it holds; `tell` hears of pauses.

    Raises ModelNotResolved, with what to do about it: also where `HF_HUB_OFFLINE` forbids to ask.
    """
    check_importable(host)
    asked = Asked(repo_id, revision)
    if variable := offline_by(host):
        raise offline_error(f"{variable} forbids to ask the hub for {asked}", variable)
    with _plainly(asked, host):
        told = _model_info(repo_id, revision, host, tell)
    if not is_commit(told.sha):
        raise no_hub(host)
    files = {one.rfilename: _hub_file(one) for one in told.siblings or [] if _is_within(one.rfilename)}
    listing = Listing(repo_id, told.sha, files, told.gated or False)
    HubMemory(repo_id, host).remember(listing)
    return listing


def fetch_facts(listing: Listing, host: Host, *, tell: Tell | None = None) -> Path:
    """Bring what says what a model is into the hub's cache, no weights and no tokenizer's words: its folder.

    What is there by its name and size is not looked into. Raises ModelNotResolved.
    """
    check_importable(host)
    snapshot = snapshot_folder(listing.repo_id, listing.commit, host)
    names = [
        name for name in small_files(listing.files) if (listing.files[name].size_bytes or 0) <= _FACTS_BYTES
    ]
    if index := index_of(listing.files):
        names.append(index)
    if missing := missing_files(listing, names, snapshot):
        from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

        disable_progress_bars()  # a bar for each of some small files
        order = Order.of(listing, host)
        with _plainly(Asked(listing.repo_id, listing.commit), host), _waiting(tell) as waiting:
            _all(lambda name: receive_file(name, order, waiting), missing)
    return snapshot


def missing_files(listing: Listing, names: Sequence[str], snapshot: Path) -> list[str]:
    """Of `names` those that are not in the snapshot as the hub has them, by their size where it tells one."""

    def is_here(name: str) -> bool:
        try:
            return listing.files[name].size_bytes in (None, (snapshot / name).stat().st_size)
        except OSError:
            return False

    return [name for name in names if not is_here(name)]


def fetch_tensors(
    listing: Listing, snapshot: Path, host: Host, *, tell: Tell | None = None
) -> dict[str, TensorRow] | None:
    """Read the headers of the safetensors files from the hub: some hundred bytes a tensor, and no weights.

    None for a repository without safetensors, and for a hub that cannot send a part of a file. `snapshot`
    has the index. What is found is remembered, and not read again. Raises ModelNotResolved.
    """
    if remembered := HubMemory(listing.repo_id, host).tensors(listing.commit):
        return remembered
    indexed = named_by_index(snapshot, listing.files)
    rows = {shard: sum(1 for one in indexed.values() if one == shard) for shard in set(indexed.values())}
    files = [
        name
        for name in weight_files(listing.files, indexed=set(indexed.values()))
        if name.endswith(".safetensors") and name in listing.files
    ]
    if not files:
        return None

    try:
        with _plainly(Asked(listing.repo_id, listing.commit), host), _waiting(tell) as waiting:

            def header(name: str) -> dict[str, TensorRow]:
                guess = 8 + _ROW_BYTES * rows[name] if name in rows else _HEADER_GUESS_BYTES
                return _header(listing, name, guess, host, waiting)

            found = _all(header, files)
    except _NoRanges:
        return None
    tensors = {name: row for part in found for name, row in part.items()}
    HubMemory(listing.repo_id, host).remember(listing, tensors)
    return tensors


def similar_ids(repo_id: str, host: Host) -> list[str]:
    """Ids on the hub that may be meant: what a search for the name finds, or for its beginning, and what else
    its organisation has. None where the hub cannot be asked.
    """
    try:
        from huggingface_hub import HfApi

        api = HfApi(endpoint=endpoint_of(host))
        author, _, name = repo_id.rpartition("/")
        wanted: list[dict[str, Any]] = [{"search": name}, {"search": name[: len(name) // 2 + 1]}]
        wanted += [{"author": author}] if author else []
        return [one.id for how in wanted for one in api.list_models(**how, limit=_SIMILAR)]
    except Exception:  # this only makes an error more helpful
        return []


def similar_revisions(repo_id: str, host: Host) -> list[str]:
    """Branches and tags of a repository; none where the hub cannot be asked."""
    try:
        from huggingface_hub import HfApi

        refs = HfApi(endpoint=endpoint_of(host)).list_repo_refs(repo_id)
        return [one.name for one in (*refs.branches, *refs.tags)]
    except Exception:  # as above
        return []


class _NoRanges(ValueError):
    """A hub, or a mirror of it, answers with the whole file where a part was asked for."""


@contextmanager
def _waiting(tell: Tell | None) -> Iterator[Waiting]:
    """Patience for several questions at once, of whose pauses `tell` hears; it ends with the context."""
    over = Event()
    told_until = 0.0

    def wait(pause_s: float, why: str) -> None:
        nonlocal told_until
        until = monotonic() + pause_s
        # All that are asked at once get the same answer.
        if tell is not None and pause_s > UNTOLD_S and until > told_until + UNTOLD_S:
            told_until = until
            tell(Message(why, "note"))
        over.wait(pause_s)

    try:
        yield Waiting(_WAITS_S, _LONGEST_WAIT_S, wait)
    finally:
        over.set()


def _model_info(repo_id: str, revision: str | None, host: Host, tell: Tell | None) -> Any:
    """What the hub tells of a repository; asked again where it has a trouble of its own, or wants a pause."""
    from huggingface_hub import HfApi

    def ask() -> Any:
        api = HfApi(endpoint=endpoint_of(host))
        return api.model_info(repo_id, revision=revision, files_metadata=True, timeout=TIMEOUT_S)

    try:
        with _waiting(tell) as waiting:
            return waiting.ask(ask, only_answered=True)
    except (JSONDecodeError, LookupError, TypeError, AttributeError):
        raise no_hub(host) from None


def _is_within(name: str) -> bool:
    """Whether a file's name leads to a place below its repository's folder."""
    return not name.startswith("/") and ".." not in PurePosixPath(name).parts and "\0" not in name


def _hub_file(sibling: Any) -> HubFile:
    # Since 1.0 the client has an object where 0.x had a dict.
    lfs = sibling.lfs
    digest = lfs["sha256"] if isinstance(lfs, dict) else lfs.sha256 if lfs is not None else None
    name = str(digest or sibling.blob_id or "")
    # It becomes the name of a file.
    is_digest = len(name) == (64 if digest else 40) and _SHA.fullmatch(name)
    is_size = type(sibling.size) is int and sibling.size >= 0
    return HubFile(sibling.size if is_size else None, name if is_digest else "", is_lfs=digest is not None)


def _header(listing: Listing, name: str, guess: int, host: Host, waiting: Waiting) -> dict[str, TensorRow]:
    """The rows of one file's header, in one request where `guess` bytes are enough."""
    from huggingface_hub import hf_hub_url

    url = hf_hub_url(listing.repo_id, name, revision=listing.commit, endpoint=endpoint_of(host))
    size_bytes = listing.files[name].size_bytes
    asked_bytes = guess if size_bytes is None else max(8, min(guess, size_bytes))
    begin = waiting.ask(lambda: _read_part(url, 0, asked_bytes))
    if size_bytes is None and len(begin) < asked_bytes:
        size_bytes = len(begin)
    length = int.from_bytes(begin[:8], "little")
    if length > LARGEST_HEADER_BYTES or (size_bytes is not None and length > size_bytes - 8):
        raise _damaged(listing, name, "its header is longer than the file")
    if length > len(begin) - 8:
        had = len(begin)
        begin += waiting.ask(lambda: _read_part(url, had, 8 + length - had))
    try:
        rows = read_rows(begin[8 : 8 + length])
        return {row.name: TensorRow(row.dtype, row.shape, name) for row in rows}
    except ValueError:
        raise _damaged(listing, name, "its header cannot be read") from None


def _damaged(listing: Listing, name: str, why: str) -> ModelNotResolved:
    return ModelNotResolved(
        f"{name} of {listing.repo_id} is damaged on the hub: {why}",
        fix="choose another repository, or tell its owner",
        code="model.damaged-weights",
    )


def _read_part(url: str, start: int, count: int) -> bytes:
    """`count` bytes of a file on the hub. Raises _NoRanges, and what the client raises."""
    with open_stream(url, start=start, end=start + count, timeout_s=TIMEOUT_S) as (status, blocks):
        if status != 206:
            raise _NoRanges
        return b"".join(blocks)


def _all(ask: Callable[[str], T], names: Sequence[str]) -> list[T]:
    """`ask` for each name, several at once; the first error is raised when those that run have ended."""
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        return list(pool.map(ask, names))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _plainly(asked: Asked, host: Host) -> Iterator[None]:
    """Turn what the client raises into errors that say what to do, with names that were perhaps meant."""
    try:
        yield
    except (ModelNotResolved, _NoRanges):
        raise
    except Exception as error:  # the client lets errors of its HTTP library through, which differ by version
        plain = in_plain_words(error, asked, host)
        if plain.error_code == "model.unknown":
            from neuronctl.model.known import known_ids

            plain = with_near_matches(plain, asked.repo_id, [*similar_ids(asked.repo_id, host), *known_ids()])
        if plain.error_code == "model.no-such-revision" and not is_commit(asked.revision):
            known = similar_revisions(asked.repo_id, host)
            plain = with_near_matches(plain, asked.revision or "", known)
        raise plain from None
