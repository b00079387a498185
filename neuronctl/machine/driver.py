"""The Neuron kernel driver and the parts of AWS's packages that planning asks for."""

from __future__ import annotations

import re

from neuronctl.host import Host
from neuronctl.machine.reading import list_folder, read_text


def loaded_driver(host: Host) -> str | None:
    """The version of the driver in the kernel (`/sys/module/neuron/version`), None where none is loaded."""
    return _version(read_text(host, "/sys/module/neuron/version", 200))


def installed_driver(host: Host) -> str | None:
    """The version of the driver on disk.

    It differs from the loaded one after an update without a restart, or a reload that failed
    (aws-neuron-sdk, neuron-runtime/nrt-troubleshoot.rst:95-121).
    """
    import shutil

    # An ordinary user's PATH often lacks the folders of modinfo.
    path = host.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    program = shutil.which("modinfo", path=path)
    if program is None:
        return None
    done = host.run([program, "-F", "version", "neuron"], timeout_s=5.0)
    return _version(done.stdout) if done.returncode == 0 else None


def has_collectives(host: Host) -> bool:
    """Whether the collectives library is installed, without which several cores cannot work together."""
    return any(name.startswith("libnccom.so") for name in list_folder(host, "/opt/aws/neuron/lib"))


def configured_lnc(host: Host) -> int | None:
    """The LNC that `/opt/aws/neuron/logical_nc_config` sets for the whole machine, None where none.

    Source: aws-neuron-sdk, deploy/eks/prerequisites.rst:51-60.
    """
    text = read_text(host, "/opt/aws/neuron/logical_nc_config", 4000)
    said = re.search(r"^\s*NEURON_LOGICAL_NC_CONFIG\s*=\s*([1-9])\s*$", text, re.MULTILINE)
    return int(said[1]) if said else None


def _version(text: str) -> str | None:
    said = text.strip()
    return said if re.fullmatch(r"[0-9][0-9A-Za-z.+_-]{0,63}", said) else None
