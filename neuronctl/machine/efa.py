"""EFA: Amazon's network devices for work over several machines."""

from __future__ import annotations

import os

from neuronctl.host import Host
from neuronctl.machine.reading import list_folder, read_text

_AMAZON = "0x1d0f"  # Linux, include/linux/pci_ids.h (PCI_VENDOR_ID_AMAZON)
_ALL = "/sys/class/infiniband"


def efa_devices(host: Host) -> tuple[str, ...]:
    """Their names, of all that the kernel has; other makers' InfiniBand and RoCE cards stand beside them."""
    return tuple(
        name
        for name in list_folder(host, _ALL)
        if read_text(host, f"{_ALL}/{name}/device/vendor", 100).strip() == _AMAZON
    )


def granted_efa(host: Host) -> tuple[str, ...]:
    """The names of the files in /dev/infiniband by which a program here may use them."""
    devices = efa_devices(host)
    return tuple(
        name
        for name in list_folder(host, "/dev/infiniband")
        # Linux, Documentation/ABI/stable/sysfs-class-infiniband; where it is not shown, any may be one.
        if name.startswith("uverbs")
        and read_text(host, f"/sys/class/infiniband_verbs/{name}/ibdev", 100).strip() in (*devices, "")
    )


def has_efa(host: Host) -> bool | None:
    """Whether there is one; None where the kernel shows no classes of devices, as on no Linux."""
    if efa_devices(host):
        return True
    return False if os.path.isdir(host.path("/sys/class")) else None
