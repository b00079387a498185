"""Bundle: what a colleague or AWS needs to help, in one file, without secrets.

Everything passes one function, Redaction, before it is written. `contents.txt` says what is inside, and what
could not be read.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import neuronctl
from neuronctl.artifacts.store import Store
from neuronctl.doctor.distribution import list_distributions
from neuronctl.doctor.known_key import spoken_keys
from neuronctl.doctor.known_secret import known_secrets
from neuronctl.doctor.shown_variable import list_variables
from neuronctl.doctor.tail import read_tail
from neuronctl.errors import NeuronctlError, UsageError
from neuronctl.host import Host
from neuronctl.machine.devices import device_indexes
from neuronctl.machine.neuron_tool import find_neuron_tool
from neuronctl.machine.reading import NoAnswer, read_text
from neuronctl.redaction.redaction import Redaction
from neuronctl.secret import HIDDEN

if TYPE_CHECKING:
    from neuronctl.stack.detect import Stack

LOGS = 10
REPORTS = 3
MANIFESTS = 100
REASONS = 50
TAIL_BYTES = 200_000
# Of a folder with more entries only these many are looked at.
_MOST_ENTRIES = 10_000
_MANIFEST_BYTES = 4 << 20
_FILES_SHOWN = 50
_DMESG_LINES = 300
_NEURON_LS_S = 10.0


@dataclass
class _Bundle:
    """What is collected: texts by name, and notes about what is not there."""

    redaction: Redaction
    members: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, text: str) -> None:
        self.members[self._name(name)] = self.redaction.text(text)

    def add_data(self, name: str, data: object) -> None:
        shown = json.dumps(self.redaction.data(data), indent=2, default=str, ensure_ascii=False)
        # The whole text once more: a secret may be made of what stands between two values.
        self.members[self._name(name)] = self.redaction.known(shown) + "\n"

    def note(self, text: str) -> None:
        self.notes.append(self.redaction.text(text))

    def finish(self) -> dict[str, bytes]:
        """The members with `contents.txt` before them, as bytes."""
        lines = [
            f"Written by neuronctl {neuronctl.__version__} doctor --bundle.",
            f"Secrets are replaced by {HIDDEN}. Logs may hold what users of a server asked it: look through",
            "them before you send this to anybody.",
            "",
            *(f"{name}  {len(text)} characters" for name, text in self.members.items()),
            *(["", "Not in here, or not whole:", *self.notes] if self.notes else ()),
        ]
        contents = self.redaction.known("\n".join(lines) + "\n")
        return {name: _bytes(text) for name, text in {"contents.txt": contents, **self.members}.items()}

    def _name(self, name: str) -> str:
        """Of letters that are safe in every archive, and not taken yet."""
        folder, slash, last = name.rpartition("/")
        last = re.sub(r"[^A-Za-z0-9._()-]", "-", self.redaction.text(last)).lstrip(".")[-120:] or "file"
        found, number = f"{folder}{slash}{last}", 1
        while found in self.members or found == "contents.txt":
            number += 1
            found = f"{folder}{slash}{number}-{last}"
        return found


def gather_bundle(
    diagnosis_json: Mapping[str, object], host: Host, *, stack: Stack | None = None
) -> dict[str, bytes]:
    """What goes into a bundle, by the names of its files: redacted, and to be written by write_archive.

    `diagnosis_json` is doctor's answer; `stack` the serving Python's where it is known already.
    """
    bundle = _Bundle(Redaction(known_secrets(host), plain=_keys(diagnosis_json, host)))
    bundle.add_data("doctor.json", diagnosis_json)
    bundle.add("environment.txt", list_variables(host.environ, bundle.redaction.text))
    bundle.add("versions.txt", _versions(host, stack, bundle.note))
    for source in ("meminfo", "self/mounts"):
        if text := _text(host, f"/proc/{source}", TAIL_BYTES, bundle.note):
            bundle.add(f"system/{Path(source).name}.txt", text)
    _add_dmesg(bundle, host)
    _add_neuron_ls(bundle, host)
    _add_home(bundle, host)
    return bundle.finish()


def _text(host: Host, path: str, most: int, note: Callable[[str], None]) -> str:
    try:
        text = read_text(host, path, most)
    except NoAnswer as silence:
        note(silence.what)
        return ""
    if not text:
        note(f"{path}: cannot be read")
    return text


def _keys(value: object, host: Host) -> set[str]:
    """The keys of artifacts: those that the store has, and those that doctor speaks of."""
    found = set(spoken_keys(value))
    with suppress(UsageError, OSError):
        layout = Store.open(host).layout
        for folder in (layout.artifacts, layout.quarantine):
            with suppress(FileNotFoundError):
                found |= {name.partition(".")[0] for name in os.listdir(folder)}
    return found


def _versions(host: Host, stack: Stack | None, note: Callable[[str], None]) -> str:
    """neuronctl, Python, Linux, and all distributions in the import folders of the serving Python."""
    from neuronctl.stack.detect import detect_stack

    kernel = os.uname()
    release = _text(host, "/etc/os-release", 4096, note)
    system = re.search(r'^PRETTY_NAME="?([^"\n]*)', release, re.MULTILINE)
    lines = [
        f"neuronctl {neuronctl.__version__}",
        f"neuronctl's python {sys.version.split()[0]} {sys.executable}",
        # Not the module platform, which starts a process to find out.
        f"kernel {kernel.sysname} {kernel.release} {kernel.machine}",
        f"system {system[1] if system else 'unknown'}",
    ]
    try:
        found = stack or detect_stack(host)
    except NeuronctlError as error:
        note(f"distributions of the serving Python: {error}")
        return "\n".join(lines) + "\n"
    lines += [f"serving python {found.python_version} {found.python} ({found.chosen_by})", ""]
    return "\n".join([*lines, *list_distributions(found.paths, note)]) + "\n"


def _add_dmesg(bundle: _Bundle, host: Host) -> None:
    done = host.run(["dmesg"], timeout_s=3.0)
    if done.why is not None:
        # Documentation/admin-guide/sysctl/kernel.rst, dmesg_restrict
        bundle.note(f"dmesg {done.why}; without root it may be forbidden (sysctl kernel.dmesg_restrict)")
        return
    lines = [line for line in done.stdout.splitlines() if "neuron" in line.lower()]
    if len(lines) > _DMESG_LINES:
        bundle.note(f"dmesg: the last {_DMESG_LINES} of {len(lines)} lines about neuron")
    bundle.add("system/dmesg.txt", "\n".join(lines[-_DMESG_LINES:] or ["no line about neuron"]) + "\n")


def _add_neuron_ls(bundle: _Bundle, host: Host) -> None:
    if not device_indexes(host):
        return
    program = find_neuron_tool(host, "neuron-ls")
    if program is None:
        bundle.note("neuron-ls: not found")
        return
    done = host.run([program, "--json-output"], timeout_s=_NEURON_LS_S)
    if done.why is not None:
        bundle.note(f"neuron-ls {done.why}")
    try:
        bundle.add_data("system/neuron-ls.json", _without_arguments(json.loads(done.stdout)))
    except (ValueError, RecursionError):
        bundle.add("system/neuron-ls.txt", done.stdout[-TAIL_BYTES:] + done.stderr[-TAIL_BYTES:])


def _without_arguments(value: object) -> object:
    """The listing with the program's name for each command: its arguments are other people's business."""
    if isinstance(value, dict):
        return {
            key: os.path.basename((inner.split() or [""])[0])
            if key == "command" and isinstance(inner, str)
            else _without_arguments(inner)
            for key, inner in value.items()
        }
    return [_without_arguments(inner) for inner in value] if isinstance(value, list) else value


def _add_home(bundle: _Bundle, host: Host) -> None:
    """What neuronctl itself has written: logs, reports, manifests, reasons of a quarantine."""
    try:
        home = host.neuronctl_home
    except UsageError as error:
        bundle.note(str(error))
        return
    for what, most in (("logs", LOGS), ("reports", REPORTS)):
        for file in _newest(home / what, most, bundle.note):
            _add_tail(bundle, f"{what}/{file.name}", file)
    store = home / "store" / "v1"
    for folder in _newest(store / "artifacts", MANIFESTS, bundle.note, folders=True):
        _add_json(bundle, f"manifests/{folder.name}.json", folder / "manifest.json")
    for folder in _newest(store / "quarantine", REASONS, bundle.note, folders=True):
        _add_json(bundle, f"quarantine/{folder.name}.json", folder / "reason.json")


def _newest(folder: Path, most: int, note: Callable[[str], None], *, folders: bool = False) -> list[Path]:
    """The files (or folders) in `folder` that were changed last, the newest first; no symbolic links."""
    found: list[tuple[int, str]] = []
    try:
        with os.scandir(folder) as entries:
            for number, entry in enumerate(entries):
                if number >= _MOST_ENTRIES:
                    note(f"{folder}: has more than {_MOST_ENTRIES} entries; the others were not looked at")
                    break
                is_wanted = entry.is_dir if folders else entry.is_file
                if is_wanted(follow_symlinks=False):
                    found.append((entry.stat(follow_symlinks=False).st_mtime_ns, entry.name))
                elif entry.is_symlink():
                    note(f"{entry.path}: is a symbolic link and was not followed")
                elif not folders:
                    note(f"{entry.path}: is no ordinary file")
    except FileNotFoundError:
        return []
    except OSError as error:
        note(f"{folder}: {error.strerror}")
    found.sort(key=lambda one: (-one[0], one[1]))
    if len(found) > most:
        note(f"{folder}: the newest {most} of {len(found)}")
    return [folder / name for _, name in found[:most]]


def _add_tail(bundle: _Bundle, name: str, file: Path) -> None:
    try:
        tail = read_tail(file, TAIL_BYTES)
    except OSError as error:
        bundle.note(f"{file}: {error.strerror or error}")
        return
    head = f"[neuronctl: the first {tail.cut_bytes} bytes are left out]\n" if tail.cut_bytes else ""
    bundle.add(name, head + tail.text)


def _add_json(bundle: _Bundle, name: str, file: Path) -> None:
    try:
        tail = read_tail(file, _MANIFEST_BYTES)
    except FileNotFoundError:
        bundle.note(f"{file}: is not there")
        return
    except OSError as error:
        bundle.note(f"{file}: {error.strerror or error}")
        return
    try:
        data = json.loads(tail.text)
    except (ValueError, RecursionError):
        bundle.note(f"{file}: is no JSON")
        bundle.add(name, tail.text[-TAIL_BYTES:])
        return
    if isinstance(data, dict) and isinstance(files := data.get("files"), list) and len(files) > _FILES_SHOWN:
        bundle.note(f"{file}: {_FILES_SHOWN} of {len(files)} files")
        data["files"] = files[:_FILES_SHOWN]
    bundle.add_data(name, data)


def _bytes(text: str) -> bytes:
    """Bytes of a log that were no UTF-8 become again what they were."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")
