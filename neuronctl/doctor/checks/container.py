"""Check of the container, if this is one: what made it, and which devices it was to be given."""

from __future__ import annotations

import re

from neuronctl.doctor.check import NotHere, Seen, Trouble, check
from neuronctl.doctor.facts import FACTS_S, Facts
from neuronctl.machine.cage import Cage, find_cage
from neuronctl.machine.devices import device_indexes
from neuronctl.result import Finding

# A word, a number or numbers with commas: what the tutorial and the field show.
_ASKED = re.compile(r"all|[0-9]{1,4}(,[0-9]{1,4})*", re.IGNORECASE | re.ASCII)
_VARIABLE = "AWS_NEURON_VISIBLE_DEVICES"
_TUTORIAL = "sdk:containers/tutorials/tutorial-oci-hook.rst"

IGNORED = Trouble(
    "container.devices-not-granted",
    "warning",
    f"{_VARIABLE} asks for devices, and the container has none: without Neuron's OCI hook on the host the "
    "variable does nothing.",
    _TUTORIAL,
)
FEWER = Trouble(
    "container.fewer-devices",
    "warning",
    f"{_VARIABLE} asks for more devices than the container has.",
    "sdk:archive/containers/tutorial-docker-runtime1.0.rst (numbers with commas)",
)


@check(
    "container",
    "The container, where this is one",
    finds=(IGNORED, FEWER),
    timeout_s=FACTS_S,
)
def container(facts: Facts) -> Seen:
    """Which runtime made the container, whether the image is AWS's, and whether it has the devices asked for.

    By the marks that runtimes leave: `/.dockerenv`, `/run/.containerenv`, the variable `container`, the names
    of control groups, Kubernetes' and ECS's own variables. AWS's image asks port 8080 whether the server is
    well; with a profile its plan compares
    ([container.healthcheck-port](../rules.md#containerhealthcheck-port)).
    """
    cage = find_cage(facts.host)
    if cage is None:
        raise NotHere("this is no container, as far as its marks tell")
    indexes = device_indexes(facts.host)
    asked = facts.environ.get(_VARIABLE, "").strip() or None
    data: dict[str, object] = {
        "runtime": cage.runtime,
        "orchestrator": cage.orchestrator,
        "devices": list(indexes),
        "devices_asked_for": asked if asked is None or _ASKED.fullmatch(asked) else "something else",
    }
    words = [_name(cage)]
    if facts.machine().driver or indexes or asked:
        count = len(indexes)
        words.append(f"{count} Neuron device{'' if count == 1 else 's'} granted")
    if facts.machine().in_aws_image:
        words.append("AWS's vLLM image, whose health check asks port 8080")
        data["health_check_port"] = 8080
    data["aws_image"] = facts.machine().in_aws_image
    finding = _compare(asked, len(indexes)) if asked else None
    return Seen(", ".join(words), (finding,) if finding else (), data=data)


def _name(cage: Cage) -> str:
    made = f"a container of {cage.runtime}" if cage.runtime else "a container"
    return f"{made}, in {cage.orchestrator}" if cage.orchestrator else made


def _compare(asked: str, visible: int) -> Finding | None:
    if not _ASKED.fullmatch(asked):
        return None
    if visible == 0:
        return IGNORED(
            f"{_VARIABLE} is {asked}, and there is no /dev/neuron* in this container",
            fix="docker run --device=/dev/neuron0 … for each device, or install Neuron's OCI hook on the "
            "host; in Kubernetes ask for the resource aws.amazon.com/neuron",
        )
    wanted = 0 if asked.lower() == "all" else len(set(asked.split(",")))
    if visible >= wanted:
        return None
    return FEWER(
        f"{_VARIABLE} is {asked}, {wanted} devices, and this container has {visible}",
        fix=f"docker run --device=/dev/neuronN … for each; or unset {_VARIABLE}",
    )


CHECKS = (container,)
