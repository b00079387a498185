"""Saving and loading a traced model: a real zip file in torch's layout, read without its checksums."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

from stand_in_sdk import enter

# The reader wants these; the first holds the compiled graphs, the second the code.
_DATA, _CODE = "data.pkl", "code/__torch__.py"
_RECORDS = (_DATA, _CODE, "constants.pkl", "version")
_LOCAL_HEADER = struct.Struct("<26xHH")


class Error(Exception):
    """What the TorchScript interpreter raises; it is no RuntimeError."""


class ScriptModule:
    """A traced model: `state` are the graphs' NEFFs, `code` says which input shapes there are."""

    def __init__(self, state: dict[str, Any], code: str) -> None:
        from neuronx_distributed.trace.nxd_model import NxDModel

        self.state = state
        self.code = code
        self.nxd_model = NxDModel(state, code)


def save(module: ScriptModule, path: str) -> None:
    """Write a traced model."""
    stem = Path(path).stem
    records = {
        _DATA: pickle.dumps(module.state, protocol=3),
        ".format_version": b"1",
        ".storage_alignment": b"64",
        _CODE: module.code.encode(),
        "constants.pkl": pickle.dumps((), protocol=2),
        "version": b"3\n",
        "byteorder": b"little",
        ".data/serialization_id": b"0" * 40,
    }
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as archive:
        for name, data in records.items():
            archive.writestr(zipfile.ZipInfo(f"{stem}/{name}"), data)
    content = whole.getvalue()
    enter("save", lambda: _write(path, content[: len(content) // 2]))
    _write(path, content)


def load(path: str) -> ScriptModule:
    """Read a traced model."""
    if not os.path.exists(path):
        raise ValueError(f"The provided filename {path} does not exist")
    content = Path(path).read_bytes()
    failed = "PytorchStreamReader failed"
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except zipfile.BadZipFile:
        text = f"{failed} reading zip archive: failed finding central directory"
        raise RuntimeError(text) from None
    found = {info.filename.partition("/")[2]: _record(content, info) for info in archive.infolist()}
    for name in _RECORDS:
        if name not in found:
            raise RuntimeError(f"{failed} locating file {name}: file not found")
    return ScriptModule(pickle.loads(found[_DATA]), found[_CODE].decode("utf-8", "replace"))


def _record(content: bytes, info: zipfile.ZipInfo) -> bytes:
    name_length, extra_length = _LOCAL_HEADER.unpack_from(content, info.header_offset)
    begin = info.header_offset + 30 + name_length + extra_length
    return content[begin : begin + info.file_size]


def _write(path: str, content: bytes) -> None:
    Path(path).write_bytes(content)
