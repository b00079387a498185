"""receive_file: one file of a repository into the hub's cache, compared with what the hub says that it is.

Locks and links are those of huggingface_hub. What is ours is what its newer versions do not do: a file whose
transfer was broken off is taken up where it ended, in another process too, and its content is compared before
anybody can see it under its name.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import msgspec

from neuronctl.errors import ModelNotResolved
from neuronctl.host import Host
from neuronctl.model.content import is_right
from neuronctl.model.hub_place import endpoint_of, hub_cache, repository_folder
from neuronctl.model.hub_stream import open_stream
from neuronctl.model.listing import HubFile, Listing
from neuronctl.model.part import Part
from neuronctl.model.patience import Waiting, why_waiting
from neuronctl.typed import decode_json

# Beyond this the hub sends a file only by its own protocol (huggingface_hub/constants.py), which the client
# then uses; what is broken off begins anew.
LARGEST_PLAIN_BYTES = 50 * 1000**3
# What is smaller is read before it is linked, if somebody else has put it there.
_SMALL_BYTES = 50_000_000


class Order(msgspec.Struct, frozen=True):
    """What to bring where: the files of `listing`; `folder` is its place in the hub's cache `cache`."""

    listing: Listing
    endpoint: str
    cache: str
    folder: str

    @classmethod
    def of(cls, listing: Listing, host: Host) -> Order:
        """For the cache that this Host's variables name."""
        folder = repository_folder(listing.repo_id, host)
        return cls(listing, endpoint_of(host), str(hub_cache(host)), str(folder))

    def write(self, path: Path) -> None:
        """Hand it to another process."""
        path.write_bytes(msgspec.json.encode(self))

    @classmethod
    def read(cls, path: Path) -> Order:
        """What write() wrote."""
        return decode_json(path.read_bytes(), cls)


def receive_file(name: str, order: Order, waiting: Waiting) -> None:
    """Bring one file: its blob, and the link to it in the snapshot. Raises what the client raises,
    ModelNotResolved for what comes wrong twice.
    """
    listing, folder = order.listing, Path(order.folder)
    file = listing.files[name]
    # Of what a mirror tells nothing, the client finds it out, and receives it in its own way.
    if not file.blob or file.size_bytes is None or file.size_bytes > LARGEST_PLAIN_BYTES:
        from huggingface_hub import hf_hub_download

        hf_hub_download(
            listing.repo_id, name, revision=listing.commit, cache_dir=order.cache, endpoint=order.endpoint
        )
        return
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    blob = folder / "blobs" / file.blob
    link = folder / "snapshots" / listing.commit / name
    lock = Path(order.cache) / ".locks" / folder.name / f"{file.blob}.lock"  # the client's own
    for one in (lock, blob, link):
        one.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if _is_file(link, file) and not link.is_symlink():
            return  # as where a file system has no links
        if not _is_file(blob, file):
            _receive(name, file.size_bytes, blob, order, waiting)
        _link(blob, link)


def forget_file(name: str, listing: Listing, host: Host) -> None:
    """Take a file whose content is wrong out of the cache, with its blob. Who reads it may go on."""
    folder = repository_folder(listing.repo_id, host)
    link = folder / "snapshots" / listing.commit / name
    blob = folder / "blobs" / listing.files[name].blob
    # Several repositories may share what is behind it (huggingface_hub 2.4, _shared_blobs.py).
    real = Path(os.path.realpath(link))
    for one in (link, blob, real if real.is_relative_to(os.path.realpath(hub_cache(host))) else link):
        with suppress(FileNotFoundError):
            one.unlink()


def _is_file(path: Path, file: HubFile) -> bool:
    """Whether that is the file, as far as it is quick to tell."""
    if not path.is_file() or path.stat().st_size != file.size_bytes:
        return False
    return (file.size_bytes or 0) > _SMALL_BYTES or is_right(path, file)


def _link(blob: Path, link: Path) -> None:
    from huggingface_hub.file_download import _create_symlink

    if not link.is_symlink() or os.path.realpath(link) != os.path.realpath(blob):
        _create_symlink(str(blob), str(link), new_blob=True)


def _receive(name: str, size_bytes: int, blob: Path, order: Order, waiting: Waiting) -> None:
    """The content of one blob, compared with its name before it gets it."""
    part = Part(blob.with_name(f"{blob.name}.incomplete"), order.listing.files[name])
    try:
        if part.received >= size_bytes and not part.is_right():
            part.start_anew()
        for _ in range(2):
            _take_up(name, size_bytes, part, order, waiting)
            if part.is_right():
                part.become(blob)
                return
            part.start_anew()
        raise ModelNotResolved(
            f"{name} of {order.listing.repo_id} was received twice, and is not what the hub says it is",
            fix="a proxy or a mirror (HF_ENDPOINT) may change it; try again without",
            code="model.wrong-checksum",
        )
    finally:
        part.close()


def _take_up(name: str, size_bytes: int, part: Part, order: Order, waiting: Waiting) -> None:
    """Receive until all is there, again and again as long as that brings something."""
    from huggingface_hub import constants, hf_hub_url

    listing = order.listing
    url = hf_hub_url(listing.repo_id, name, revision=listing.commit, endpoint=order.endpoint)
    patience = waiting.patience(part.received)
    while part.received < size_bytes:
        try:
            _take(url, size_bytes, part, constants.HF_HUB_DOWNLOAD_TIMEOUT)
        except Exception as error:
            pause_s = patience.pause_s(error, part.received)
            if pause_s is None:
                raise
            waiting.wait(pause_s, why_waiting(error, pause_s))


def _take(url: str, size_bytes: int, part: Part, timeout_s: float) -> None:
    """Receive what one answer brings."""
    with open_stream(url, start=part.received, timeout_s=timeout_s) as (status, blocks):
        if part.received and status != 206:  # it sends all of it
            part.start_anew()
        for block in blocks:
            part.write(block)
            if part.received > size_bytes:
                return  # what it is not is told by its digest
    if part.received < size_bytes:
        raise ConnectionError(f"{size_bytes - part.received} bytes less than announced came")
