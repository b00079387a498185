"""A stand-in for the Neuron plugin over NxD Inference, to be used with a real vLLM and without any SDK."""

from __future__ import annotations

import glob


def register() -> str:
    """The name of the platform's class.

    Without a device the real one warns and is no platform. This one ends the process: none of those that a
    compile consists of may go on with another platform.
    """
    if not glob.glob("/dev/neuron*"):
        raise SystemExit("No Neuron devices found")
    return "vllm_neuron.platform.NeuronPlatform"
