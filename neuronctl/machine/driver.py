"""The Neuron kernel driver and the parts of AWS's packages that planning asks for."""

from __future__ import annotations

import os
import re

from neuronctl.host import Host
from neuronctl.linker import library_folders
from neuronctl.machine.reading import NoAnswer, answered, read_text

_MODINFO_S = 5.0


def loaded_driver(host: Host) -> str | None:
    """The version of the driver in the kernel (`/sys/module/neuron/version`), None where none is loaded.

    Raises NoAnswer.
    """
    return _version(read_text(host, "/sys/module/neuron/version", 200))


def installed_driver(host: Host) -> str | None:
    """The version of the driver on disk, None where there is none. Raises NoAnswer.

    It differs from the loaded one after an update without a restart, or a reload that failed
    (aws-neuron-sdk, neuron-runtime/nrt-troubleshoot.rst:95-121).
    """
    import shutil

    # An ordinary user's PATH often lacks the folders of modinfo.
    path = host.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    program = shutil.which("modinfo", path=path)
    if program is None:
        return None
    done = host.run([program, "-F", "version", "neuron"], timeout_s=_MODINFO_S)
    if done.returncode is not None and done.returncode > 0:
        return None  # as in a container, where the module's file is not
    version = _version(done.stdout)
    if done.returncode != 0 or version is None:
        raise NoAnswer("modinfo", done.why or "tells something that is no version")
    return version


def has_library(host: Host, name: str) -> bool:
    """Whether a library of Neuron's, such as `libnrt.so`, is installed.

    It is looked for in LD_LIBRARY_PATH, where AWS's package has it, and in the linker's own list, which is
    what `ldconfig -p` prints. Raises NoAnswer.
    """
    return answered(host, "a folder of libraries", lambda: _has_library(host, name))


def _has_library(host: Host, name: str) -> bool:
    for folder in library_folders(host):
        try:
            if any(each == name or each.startswith(f"{name}.") for each in os.listdir(folder)):
                return True
        except OSError:
            continue
    return name in read_text(host, "/etc/ld.so.cache")


def configured_lnc(host: Host) -> int | None:
    """The LNC that `/opt/aws/neuron/logical_nc_config` sets for the whole machine, None where none.

    Raises NoAnswer. Source: aws-neuron-sdk, deploy/eks/prerequisites.rst:51-60.
    """
    text = read_text(host, "/opt/aws/neuron/logical_nc_config", 4000)
    said = re.search(r"^\s*NEURON_LOGICAL_NC_CONFIG\s*=\s*([1-9])\s*$", text, re.MULTILINE)
    return int(said[1]) if said else None


def _version(text: str) -> str | None:
    said = text.strip()
    return said if re.fullmatch(r"[0-9][0-9A-Za-z.+_-]{0,63}", said) else None
