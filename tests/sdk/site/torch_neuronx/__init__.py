"""A stand-in for torch_neuronx: which device this is."""

import os

from stand_in_sdk import device_target


def get_platform_target() -> str:
    """What to compile for: as the environment says, else what the device is."""
    return os.environ.get("NEURON_PLATFORM_TARGET_OVERRIDE") or device_target()
