"""The hub: what it says of a repository, without its weights. The only module that asks it in this process.

Built on huggingface_hub and its conventions: the shared cache, `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`.
Used of it is only what its versions 0.34 to 2.4 have alike: transformers 4.57, which serves on Neuron, wants
one below 1.0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from neuronctl.errors import ModelNotResolved
from neuronctl.host import Host
from neuronctl.model.hub_error import Asked, in_plain_words, status_of, with_near_matches
from neuronctl.model.hub_memory import HubMemory
from neuronctl.model.hub_place import endpoint_of, hub_cache, offline_by, offline_error, snapshot_folder
from neuronctl.model.listing import HubFile, Listing, TensorRow, is_commit
from neuronctl.model.patience import Patience
from neuronctl.model.safetensors import LARGEST_HEADER_BYTES, read_rows
from neuronctl.model.selection import index_of, small_files, weight_files
from neuronctl.model.weights import named_by_index

TIMEOUT_S = 10.0
# Pauses before a question is asked again that the hub could not answer.
_WAITS_S = (1.0, 3.0)
# What the hub may ask for instead: nothing is told meanwhile.
_LONGEST_WAIT_S = 60.0
# What is looked into before anything is decided is smaller; a tokenizer may be larger, and can wait.
_FACTS_BYTES = 2 << 20
# Of a header whose length nobody knows yet. A row of it takes some 110 bytes.
_HEADER_GUESS_BYTES = 16 << 10
_ROW_BYTES = 160
_AT_ONCE = 8
_SIMILAR = 50

T = TypeVar("T")


def look_up(repo_id: str, revision: str | None, host: Host) -> Listing:
    """Ask the hub which commit a revision is, and what it holds.

    Raises ModelNotResolved, with what to do about it: also where `HF_HUB_OFFLINE` forbids to ask.
    """
    asked = Asked(repo_id, revision)
    if variable := offline_by(host):
        raise offline_error(f"{variable} forbids to ask the hub for {asked}", variable)
    with _plainly(asked, host):
        told = _model_info(repo_id, revision, host)
    if told.sha is None:
        raise ModelNotResolved(
            f"{endpoint_of(host)} names no commit of {asked}", code="model.download-failed"
        )
    files = {one.rfilename: _hub_file(one) for one in told.siblings or []}
    listing = Listing(repo_id, told.sha, files, told.gated or False)
    HubMemory(repo_id, host).remember(listing)
    return listing


def fetch_facts(listing: Listing, host: Host) -> Path:
    """Bring what says what a model is into the hub's cache, no weights and no tokenizer's words: its folder.

    Raises ModelNotResolved.
    """
    names = [
        name for name in small_files(listing.files) if (listing.files[name].size_bytes or 0) <= _FACTS_BYTES
    ]
    if index := index_of(listing.files):
        names.append(index)
    fetch = _fetcher(listing, host)
    with _plainly(Asked(listing.repo_id, listing.commit), host):
        _all(fetch, names)
    return snapshot_folder(listing.repo_id, listing.commit, host)


def fetch_tensors(listing: Listing, snapshot: Path, host: Host) -> dict[str, TensorRow] | None:
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

    def header(name: str) -> dict[str, TensorRow]:
        guess = 8 + _ROW_BYTES * rows[name] if name in rows else _HEADER_GUESS_BYTES
        return _header(listing, name, guess, host)

    try:
        with _plainly(Asked(listing.repo_id, listing.commit), host):
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


class _NoRanges(Exception):
    """A hub, or a mirror of it, answers with the whole file where a part was asked for."""


def _model_info(repo_id: str, revision: str | None, host: Host) -> Any:
    """What the hub tells of a repository; asked again where it has a trouble of its own, or wants a pause."""
    from huggingface_hub import HfApi

    api = HfApi(endpoint=endpoint_of(host))
    patience = Patience(_WAITS_S, longest_s=_LONGEST_WAIT_S)
    while True:
        try:
            return api.model_info(repo_id, revision=revision, files_metadata=True, timeout=TIMEOUT_S)
        except Exception as error:
            pause_s = patience.pause_s(error) if status_of(error) else None
            if pause_s is None:
                raise
            host.sleep(pause_s)


def _hub_file(sibling: Any) -> HubFile:
    # Since 1.0 the client has an object where 0.x had a dict.
    lfs = sibling.lfs
    digest = lfs["sha256"] if isinstance(lfs, dict) else lfs.sha256 if lfs is not None else None
    return HubFile(sibling.size, digest or sibling.blob_id or "", is_lfs=digest is not None)


def _fetcher(listing: Listing, host: Host) -> Callable[[str], object]:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    disable_progress_bars()  # a bar for each of some small files
    cache, endpoint = hub_cache(host), endpoint_of(host)

    def fetch(name: str) -> object:
        return hf_hub_download(
            listing.repo_id, name, revision=listing.commit, cache_dir=cache, endpoint=endpoint
        )

    return fetch


def _header(listing: Listing, name: str, guess: int, host: Host) -> dict[str, TensorRow]:
    """The rows of one file's header, in one request where `guess` bytes are enough."""
    from huggingface_hub import hf_hub_url

    url = hf_hub_url(listing.repo_id, name, revision=listing.commit, endpoint=endpoint_of(host))
    size_bytes = listing.files[name].size_bytes
    asked_bytes = guess if size_bytes is None else max(8, min(guess, size_bytes))
    begin = _read_part(url, 0, asked_bytes)
    if size_bytes is None and len(begin) < asked_bytes:
        size_bytes = len(begin)
    length = int.from_bytes(begin[:8], "little")
    if length > LARGEST_HEADER_BYTES or (size_bytes is not None and length > size_bytes - 8):
        raise _damaged(listing, name, "its header is longer than the file")
    if length > len(begin) - 8:
        begin += _read_part(url, len(begin), 8 + length - len(begin))
    try:
        return {
            tensor: TensorRow(dtype, shape, name) for tensor, dtype, shape in read_rows(begin[8 : 8 + length])
        }
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
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

    headers = {
        **build_hf_headers(),
        "Range": f"bytes={start}-{start + count - 1}",
        "Accept-Encoding": "identity",
    }
    with _stream(url, headers) as (response, blocks):
        hf_raise_for_status(response)
        if response.status_code != 206:
            raise _NoRanges
        return b"".join(blocks)


@contextmanager
def _stream(url: str, headers: dict[str, str]) -> Iterator[tuple[Any, Iterator[bytes]]]:
    """An answer and the blocks of its body, which is not read before they are asked for."""
    from huggingface_hub import utils as its_utils

    utils: Any = its_utils  # what is in it differs by version
    if hasattr(utils, "http_stream_backoff"):  # since 1.0
        with utils.http_stream_backoff("GET", url, headers=headers, timeout=TIMEOUT_S) as response:
            yield response, response.iter_bytes()
    else:
        response = utils.http_backoff("GET", url, headers=headers, timeout=TIMEOUT_S, stream=True)
        try:
            yield response, response.iter_content(64 << 10)
        finally:
            response.close()


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
