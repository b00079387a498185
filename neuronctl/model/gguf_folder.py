"""A GGUF file as a Hugging Face model folder, which is what every vLLM can serve.

Only Llama models with a byte-level BPE tokenizer are turned into folders: that is what the shipped model
is. Everything but the weights is written here, from the header; the weights by a child in the serving
Python (`gguf_weights.py`), where numpy and gguf are installed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from neuronctl.errors import LockTimedOut, MachineUnfit, ModelNotResolved, StackUnfit
from neuronctl.host import Host
from neuronctl.model.gguf_header import GgufHeader, read_header
from neuronctl.model.gguf_llama import llama_config, tensor_table
from neuronctl.model.gguf_tokenizer import tokenizer_files
from neuronctl.model.layout import WEIGHTS, is_whole

CONVERT_TIMEOUT_S = 1800.0
LOCK_TIMEOUT_S = 1800.0
LOCK_POLL_S = 0.1

_CHILD = Path(__file__).with_name("gguf_weights.py")
_CHILD_MISSING = 3
_CHILD_REFUSED = 4


def read_gguf_config(gguf: Path) -> dict[str, object]:
    """The `config.json` that the folder of `gguf` has or will have, from the file's header (some 10 ms).

    Raises ModelNotResolved if the file cannot be read, is damaged, or holds a model we cannot turn into a
    folder.
    """
    return llama_config(read_header(gguf, arrays=False))


def convert_gguf(gguf: Path, target: Path, python: Path, host: Host) -> None:
    """Make `target` the Hugging Face folder of `gguf`; nothing to do when it is there already.

    The folder appears at once and whole: it is written beside `target` and renamed. Of several processes
    one converts and the others wait. `python` is the serving Python. Raises ModelNotResolved (the file),
    StackUnfit (numpy or gguf missing there), MachineUnfit (no space, read-only), LockTimedOut.
    """
    if is_whole(target):
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _lock(target.with_name(f".{target.name}.lock"), host):
            if is_whole(target):
                return
            _convert(gguf, target, python, host)
    except OSError as error:
        raise _refused(target, error.strerror or str(error)) from error


def _convert(gguf: Path, target: Path, python: Path, host: Host) -> None:
    import shutil
    import tempfile

    # We hold the lock, so a stage found now belongs to a process that died.
    for leftover in target.parent.glob(f".{target.name}.stage.*"):
        shutil.rmtree(leftover, ignore_errors=True)
    header = read_header(gguf)
    files = _text_files(header)
    table = tensor_table(header)
    stage = Path(tempfile.mkdtemp(prefix=f".{target.name}.stage.", dir=target.parent))
    try:
        folder = stage / "folder"
        folder.mkdir()
        _write_json(stage / "tensors.json", table)
        for name, content in files.items():
            _write_json(folder / name, content)
        _run_child(gguf, stage / "tensors.json", folder / WEIGHTS, python, host, target)
        _sync_folder(folder)
        if target.exists():
            # Whole folders were handled above: this one lost something, and is of no use to anybody.
            target.rename(stage / "incomplete")
        folder.rename(target)
        _sync_folder(target.parent)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _run_child(gguf: Path, table: Path, weights: Path, python: Path, host: Host, target: Path) -> None:
    paths = [str(host.cwd / path) for path in (gguf, table, weights)]
    done = host.run([str(python), "-I", str(_CHILD), *paths], timeout_s=CONVERT_TIMEOUT_S)
    if done.returncode == 0:
        return
    lines = done.stderr.strip().splitlines()
    reason = lines[-1] if lines else "it said nothing"
    if done.returncode == _CHILD_MISSING:
        raise StackUnfit(
            f"{python} cannot turn the weights of {gguf.name} into a model folder: {reason}",
            fix=f"{python} -m pip install numpy gguf",
        )
    if done.returncode == _CHILD_REFUSED:
        raise _refused(target, reason)
    if done.returncode == 127:
        raise StackUnfit(f"{python} cannot be started: {reason}", fix="name a Python that has vLLM: --python")
    if done.returncode is None:
        raise MachineUnfit(
            f"{gguf.name} was not a model folder after {CONVERT_TIMEOUT_S:.0f} s of conversion"
        )
    if done.returncode < 0:
        raise MachineUnfit(
            f"the process that turns {gguf.name} into a model folder was ended by signal {-done.returncode}",
            fix="see whether the machine ran out of memory, and run the command again",
        )
    raise ModelNotResolved(f"the weights of {gguf} could not be converted: {reason}")


def _refused(target: Path, reason: str) -> MachineUnfit:
    return MachineUnfit(
        f"the model folder {target} cannot be written: {reason}",
        fix="free some space there, or name another place with NEURONCTL_HOME",
    )


@contextmanager
def _lock(path: Path, host: Host) -> Iterator[None]:
    """Hold an exclusive lock; the kernel gives it up if we die."""
    import fcntl

    deadline = host.monotonic() + LOCK_TIMEOUT_S
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if host.monotonic() > deadline:
                    raise LockTimedOut(f"another process kept {path} for {LOCK_TIMEOUT_S:.0f} s") from None
                host.sleep(LOCK_POLL_S)
        yield


def _write_json(path: Path, content: object) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _text_files(header: GgufHeader) -> dict[str, dict[str, object]]:
    config = llama_config(header)
    ids: dict[str, object] = {key: value for key, value in config.items() if key.endswith("_token_id")}
    return {
        "config.json": config,
        "generation_config.json": {"_from_model_config": True, **ids},
        **tokenizer_files(header, config),
    }
