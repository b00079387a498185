"""How many logical cores a plan wants, and how many there are."""

from __future__ import annotations

from neuronctl.neuron.native import local_ranks
from neuronctl.rules.situation import Situation


def wanted_cores(situation: Situation) -> int:
    """How many ranks there will be; with nxdi a tp_degree in the Neuron config wins over vLLM's argument."""
    outlook = situation.outlook
    if outlook is None:
        return 0
    if outlook.generation == "native":
        return local_ranks(situation.engine)
    degree = outlook.prediction.neuron_config.get("tp_degree") if outlook.prediction is not None else None
    return degree if isinstance(degree, int) else outlook.tensor_parallel_size


def core_count(situation: Situation) -> int | None:
    """The logical cores at the plan's LNC; None where neither devices nor the type are known."""
    outlook, machine = situation.outlook, situation.machine
    if outlook is None:
        return None
    if machine.devices:
        return sum(len(device.at_lnc(outlook.lnc).core_ids) for device in machine.devices)
    return machine.instance.logical_cores.get(outlook.lnc) if machine.instance is not None else None


def exceeds_cores(situation: Situation) -> bool:
    """Whether more cores are wanted than there are, which machine.too-many-cores tells."""
    cores = core_count(situation)
    return cores is not None and wanted_cores(situation) > cores
