"""Which EC2 instance type this is: by the firmware's tables (DMI), neuron-ls, or the metadata service."""

from __future__ import annotations

import re

from neuronctl.host import Host
from neuronctl.machine.catalog import known_instance
from neuronctl.machine.reading import NoAnswer, answered, read_text

# optimum-neuron, optimum/neuron/utils/system.py:45; aws-neuron-driver, v3/neuron_dhal_v3.c:255
_DMI = ("/sys/devices/virtual/dmi/id", "/sys/class/dmi/id")
_METADATA = "http://169.254.169.254/latest"
_METADATA_TIMEOUT_S = 0.5


def identify_instance(host: Host, *, told: str | None, has_devices: bool) -> tuple[str, str] | None:
    """The instance type's name and who says so: `DMI`, `neuron-ls` (`told`) or `IMDSv2`; None: no EC2 name.

    The name may be one that the catalog does not know. Raises NoAnswer where the firmware's tables hang and
    nobody else names it. The metadata service is asked last, and only on a
    machine that has Neuron devices or says it is Amazon's: elsewhere its address answers nobody.
    """
    silence: NoAnswer | None = None
    vendor, product = "", ""
    try:
        vendor, product = answered(
            host, _DMI[0], lambda: (_dmi(host, "sys_vendor"), _dmi(host, "product_name"))
        )
    except NoAnswer as none:
        silence = none
    on_ec2 = vendor == "Amazon EC2"
    # Other makers' products may look like an instance type's name too.
    if _is_name(product) and (on_ec2 or known_instance(product)):
        return product, "DMI"
    if told is not None and _is_name(told):
        return told, "neuron-ls"
    if has_devices or on_ec2:
        asked = _ask_metadata(host)
        if _is_name(asked):
            return asked, "IMDSv2"
    if silence is not None:
        raise silence
    return None


def _dmi(host: Host, name: str) -> str:
    for folder in _DMI:
        if text := read_text(host, f"{folder}/{name}", 200).strip():
            return text
    return ""


def _ask_metadata(host: Host) -> str:
    token = host.http(
        "PUT",
        f"{_METADATA}/api/token",
        headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"},
        timeout_s=_METADATA_TIMEOUT_S,
    )
    if token.status != 200 or not re.fullmatch(r"[!-~]{1,1000}", token.body):
        return ""
    answer = host.http(
        "GET",
        f"{_METADATA}/meta-data/instance-type",
        headers={"X-aws-ec2-metadata-token": token.body},
        timeout_s=_METADATA_TIMEOUT_S,
    )
    return answer.body.strip() if answer.status == 200 else ""


def _is_name(text: str) -> bool:
    return len(text) <= 60 and re.fullmatch(r"[a-z][a-z0-9-]*(\.[a-z0-9-]+)+", text) is not None
