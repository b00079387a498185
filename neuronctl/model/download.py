"""download_model: the files of a repository that serving needs, in the hub's cache, whole or not there."""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import structs

from neuronctl.child import Child, Ended, Launch
from neuronctl.errors import MachineUnfit, ModelNotResolved
from neuronctl.host import Host
from neuronctl.model.content import find_wrong
from neuronctl.model.hub import fetch_facts, missing_files
from neuronctl.model.hub_place import hub_cache, repository_folder, snapshot_folder
from neuronctl.model.listing import Listing
from neuronctl.model.receive import Order, forget_file
from neuronctl.model.safetensors import find_fault
from neuronctl.model.selection import index_of, small_files, weight_files
from neuronctl.model.size import size_in_words
from neuronctl.model.transfer import Pause
from neuronctl.model.weights import named_by_index
from neuronctl.result import Message, Progress, Tell
from neuronctl.runs import open_run

# The child finds modules where we do: `-c` alone would look into the working folder first.
_CODE = "import sys; sys.path[:] = {path!r}; from neuronctl.model.transfer import main; main()"
_POLL_S = 0.5
# The rate is that of the last so many seconds.
_RATE_OVER_S = 15.0
# A line that is silent for longer is told.
_SILENT_S = 5.0
_ALIKE_S = 2.0
# What is left free on the disk beside the download.
_SPARE_BYTES = 256 << 20


def wanted_files(listing: Listing, snapshot: Path) -> list[str]:
    """The files that serving needs; `snapshot` has the index of the weights, if there is one.

    Raises ModelNotResolved where the index names files that the repository lacks, or there are no weights.
    """
    indexed = set(named_by_index(snapshot, listing.files).values())
    weights = weight_files(listing.files, indexed=indexed)
    if not weights:
        raise ModelNotResolved(
            f"{listing.repo_id} has no weights that vLLM loads (*.safetensors or pytorch_model*.bin)",
            fix="choose a repository with safetensors",
            code="model.no-weights",
        )
    if missing := [name for name in weights if name not in listing.files]:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ModelNotResolved(
            f"the index of {listing.repo_id} names files that the repository lacks: "
            f"{', '.join(missing[:3])}{more}",
            fix="choose another revision (model.revision, --revision), or another repository",
            code="model.no-weights",
        )
    return [*small_files(listing.files), *weights]


def download_model(listing: Listing, host: Host, *, tell: Tell, verify: bool = False) -> Path:
    """Bring what serving needs of a repository into the hub's cache: the snapshot's folder.

    What another process or an earlier one brought is not fetched again, not in parts either, unless its
    content is wrong: that is seen of small files, and of weights whose header is at fault; with `verify` of
    all. Raises ModelNotResolved, also where the disk is too small; MachineUnfit where no process can be
    started; Interrupted or Terminated.
    """
    small = [*small_files(listing.files), *filter(None, [index_of(listing.files)])]
    # The index says what else is wanted.
    _forget_wrong(listing, small, host, tell)
    snapshot = fetch_facts(listing, host, tell=tell)
    names = wanted_files(listing, snapshot)
    weights = [name for name in names if name not in small]
    _forget_wrong(listing, weights if verify else _at_fault(snapshot, weights), host, tell)
    if missing := missing_files(listing, names, snapshot):
        _check_space(listing, missing, host)
        _transfer(listing, missing, host, tell)
        if left := missing_files(listing, names, snapshot):
            raise ModelNotResolved(
                f"{left[0]} of {listing.repo_id} is not in {snapshot} after the download",
                fix="see whether another program empties the hub's cache, and type the same command again",
                code="model.download-failed",
            )
    if verify:
        known = sum(1 for name in names if listing.files[name].blob)
        told = f"all {len(names)} files are" if known == len(names) else f"{known} of {len(names)} files are"
        tell(Message(f"{told} what the hub says, by their checksums", "done"))
    return snapshot


def _forget_wrong(listing: Listing, names: Sequence[str], host: Host, tell: Tell) -> None:
    """Take those files out of the cache that are there and have another content than on the hub.

    Of what a mirror tells nothing, all that is asked for is taken for wrong. Raises ModelNotResolved for
    weights that are so on the hub.
    """
    snapshot = snapshot_folder(listing.repo_id, listing.commit, host)
    absent = set(missing_files(listing, names, snapshot))
    known = {name: listing.files[name] for name in names if name not in absent and listing.files[name].blob}
    for name in find_wrong(snapshot, known, host, tell=tell):
        tell(Message(f"{name} is not here as the hub has it, and is fetched again", "warn"))
        forget_file(name, listing, host)


def _at_fault(snapshot: Path, names: Sequence[str]) -> list[str]:
    """Of these files in a snapshot those that their own header shows to be damaged."""

    def is_damaged(path: Path) -> bool:
        try:
            return find_fault(path) is not None
        except OSError:
            return True

    return [name for name in names if name.endswith(".safetensors") and is_damaged(snapshot / name)]


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _received(listing: Listing, names: Sequence[str], folder: Path) -> int:
    """Bytes of these files that are on the disk, in whole blobs and in parts."""
    received = 0
    for name in names:
        blob = listing.files[name].blob
        if not blob:  # then parts have a name that only the client knows
            received += _size(folder / "snapshots" / listing.commit / name) or 0
            continue
        received += _size(folder / "blobs" / blob) or _size(folder / "blobs" / f"{blob}.incomplete") or 0
    return received


def _total(listing: Listing, names: Sequence[str]) -> int | None:
    """Bytes of these files; None where the hub does not tell of each."""
    sizes = [listing.files[name].size_bytes for name in names]
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


def _check_space(listing: Listing, names: Sequence[str], host: Host) -> None:
    """Raise ModelNotResolved where the disk has no space for what is missing, as far as its size is known."""
    folder = repository_folder(listing.repo_id, host)
    if (total := _total(listing, names)) is None:
        return
    needed = total - _received(listing, names, folder)
    free = None
    for place in (folder, *folder.parents):
        with suppress(OSError):
            facts = os.statvfs(place)
            free = facts.f_bavail * facts.f_frsize
            break
    if free is not None and needed + _SPARE_BYTES > free:
        raise ModelNotResolved(
            f"{listing.repo_id} takes {size_in_words(needed)} more, and {hub_cache(host)} has "
            f"{size_in_words(free)} free",
            fix="free some space, or set HF_HOME to a folder on a larger disk",
            code="model.no-space",
        )


def _transfer(listing: Listing, names: Sequence[str], host: Host, tell: Tell) -> None:
    """Run the child that receives the files, and tell how far it is."""
    wanted = structs.replace(listing, files={name: listing.files[name] for name in names})
    # A bar of its own would fill the log; its other way of receiving takes nothing up again.
    quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_ENABLE_HF_TRANSFER": "0"}
    with open_run(host, listing.repo_id.rpartition("/")[2], "download") as run:
        order, answer, pause = (run.work / name for name in ("order.json", "error.json", "pause.json"))
        Order.of(wanted, host).write(order)
        argv = (sys.executable, "-c", _CODE.format(path=sys.path), str(order), str(answer), str(pause))
        launch = Launch(argv, env={**host.environ, **quiet}, cwd=host.cwd, log=run.log)
        with Child.start(launch, host) as child:
            _follow(child, listing, names, pause, host, tell)
        if child.ended is not None and child.ended.code == 0:
            run.log.unlink(missing_ok=True)
            return
        raise _failure(child.ended, answer, listing, run.log)


def _follow(
    child: Child, listing: Listing, names: Sequence[str], pause: Path, host: Host, tell: Tell
) -> None:
    """Tell about twice a second what has come, how fast and for how long still, or why nothing comes."""
    folder = repository_folder(listing.repo_id, host)
    total = _total(listing, names)
    began = came_at = host.monotonic()
    seen: deque[tuple[float, int]] = deque()
    told: Pause | None = None
    while True:
        now, received = host.monotonic(), _received(listing, names, folder)
        if seen and received != seen[-1][1]:
            came_at = now
        seen.append((now, received))
        while now - seen[0][0] > _RATE_OVER_S and len(seen) > 2:
            seen.popleft()
        rate = (received - seen[0][1]) / (now - seen[0][0]) if now > seen[0][0] else 0.0
        paused = Pause.read(pause)
        # All that are under way at once get the same answer.
        if paused is not None and (told is None or paused.until > told.until + _ALIKE_S):
            told = paused
            tell(Message(paused.why, "note"))
        far = _how_far(received, total, rate)
        if paused is not None and paused.until > host.now():
            far = f"{_how_far(received, total, 0.0)}, waiting for {paused.until - host.now():.0f} s"
        elif now - came_at >= _SILENT_S:
            far = f"{_how_far(received, total, 0.0)}, nothing came for {now - came_at:.0f} s"
        tell(Progress(f"downloading {listing.repo_id}: {far}", now - began))
        if child.wait(_POLL_S) is not None:
            return


def _how_far(received: int, total: int | None, rate: float) -> str:
    text = (
        size_in_words(received) if total is None else f"{size_in_words(received)} of {size_in_words(total)}"
    )
    if rate < 1.0:
        return text
    text += f", {rate / 1e6:.1f} MB/s"
    if total is None:
        return text
    left_s = max(0.0, total - received) / rate
    left = f"{left_s:.0f} s" if left_s < 100 else f"{left_s / 60:.0f} min"
    return f"{text}, {left} left"


def _failure(
    ended: Ended | None, answer: Path, listing: Listing, log: Path
) -> ModelNotResolved | MachineUnfit:
    """The error that the child told, or how it ended."""
    try:
        told = json.loads(answer.read_bytes())
        code, what, fix = (str(told[word]) for word in ("code", "what", "fix"))
        fix += "; the same command goes on where this ended"
        return ModelNotResolved(what, fix=fix, code=code, details={"log": str(log)})
    except (OSError, ValueError, LookupError, TypeError):
        how = ended if ended is not None else "does not end"
        return MachineUnfit(
            f"the download of {listing.repo_id} {how}",
            fix=f"look at the log {log}; the same command goes on where this ended",
            details={"log": str(log)},
        )
