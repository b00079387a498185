"""The machine and the software of a plan, in a line each."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neuronctl.machine.detect import Machine
    from neuronctl.neuron.outlook import Outlook
    from neuronctl.stack.detect import Stack

_GIB = 2**30


def machine_text(machine: Machine, outlook: Outlook | None) -> str | None:
    """The instance in a line, at the LNC in force; None where it has nothing of Neuron."""
    instance = machine.instance
    if instance is None:
        return f"{machine.instance_name} ({machine.instance_source})" if machine.instance_name else None
    lnc = outlook.lnc if outlook is not None else (machine.lnc or instance.lnc_default)
    cores = instance.logical_cores.get(lnc)
    memory = instance.core_memory_bytes.get(lnc)
    each = f", {memory / _GIB:g} GiB each" if memory else ""
    driver = f", driver {machine.driver}" if machine.driver else ""
    return (
        f"{instance.name} ({machine.instance_source}): {instance.devices} x {instance.chip}, "
        f"{cores if cores is not None else 'no'} logical cores (LNC {lnc}){each}{driver}"
    )


def stack_text(stack: Stack) -> str | None:
    """Which Neuron SDK this is, as far as the versions tell; None for a stack without Neuron."""
    if stack.generation not in ("nxdi", "native"):
        return None
    from neuronctl.stack.identify import identify_stack

    found = identify_stack(stack)
    if found.sdk is None:
        return "Neuron SDK not recognised"
    plugin = f", plugin {found.plugin.version} ({found.plugin.generation})" if found.plugin else ""
    return f"Neuron SDK {found.sdk.version}{plugin}"
