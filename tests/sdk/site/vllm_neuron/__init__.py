"""A stand-in for the plugin: it registers itself where there is a device."""

from __future__ import annotations

import glob
import warnings

from stand_in_sdk import device_folder


def register() -> str | None:
    """The name of the platform's class, or None without a device."""
    if not glob.glob(device_folder() + "/neuron*"):
        warnings.warn("No Neuron devices found. Skipping Neuron plugin registration.", stacklevel=2)
        return None
    return "vllm_neuron.platform.NeuronPlatform"
