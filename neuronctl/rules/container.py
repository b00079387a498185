"""Rules about containers: which devices they were given, and what AWS's images bring."""

from __future__ import annotations

from neuronctl.rules.devices import wants_device
from neuronctl.rules.rule import NEURON, Remark, rule
from neuronctl.rules.situation import Situation

_HEALTH_PORT = 8080


@rule(
    "container.no-device",
    "error",
    "sdk:deploy/troubleshooting.rst:34-40; plugin020:V/__init__.py:14-23",
    backends=NEURON,
    covers=("no-device-in-container",),
)
def no_device(situation: Situation) -> Remark | None:
    """The driver is loaded and there is no /dev/neuron*: the container was given no device.

    The plugin over NxD Inference then does not register ("No Neuron devices found"), and vLLM starts on the
    processor.
    """
    machine = situation.machine
    if machine.devices or machine.driver is None or not wants_device(situation):
        return None
    return Remark(
        f"the Neuron driver {machine.driver} is loaded, and there is no /dev/neuron* here",
        fix="docker run --device=/dev/neuron0 …, in Kubernetes the resource aws.amazon.com/neuron; or add "
        "--target to plan for another machine",
    )


@rule(
    "container.healthcheck-port",
    "warning",
    "dlc:2.32.0 vllm/inference/0.24.0.1.1.0/Dockerfile.neuronx:254-258",
    backends=NEURON,
    covers=("dlc-healthcheck-port",),
)
def healthcheck_port(situation: Situation) -> Remark | None:
    """AWS's image asks port 8080 whether the server is well, so on another port it never is.

    By the image's Dockerfile (not run): its HEALTHCHECK calls http://localhost:8080/ping.
    """
    port = situation.profile.shape.server.port
    if not situation.machine.in_aws_image or port == _HEALTH_PORT:
        return None
    return Remark(
        f"the health check of AWS's image asks port {_HEALTH_PORT}, and the server listens on {port}: by its "
        "Dockerfile (not run) the container never becomes healthy",
        fix=f"set server.port: {_HEALTH_PORT}, or give docker run another --health-cmd",
        key="server.port",
    )


@rule(
    "container.mangled-json",
    "info",
    "pub:56794234790 (reported); dlc:2.32.0 /usr/local/bin/vllm_entrypoint.py",
    backends=NEURON,
    covers=("dlc-json-args",),
)
def mangled_json(situation: Situation) -> Remark | None:
    """In AWS's image, words after `--` that hold JSON are reported to lose their quotes.

    The image's entry point takes the command line apart and puts it together again. What stands in the
    profile does not pass through it.
    """
    outlook = situation.outlook
    if (
        not situation.machine.in_aws_image
        or outlook is None
        or not isinstance(outlook.additional_config, str)
    ):
        return None
    return Remark(
        "the entry point of AWS's image is reported to take the quotes out of JSON on the command line, and "
        f"--additional-config arrived as {outlook.additional_config[:60]!r}",
        fix="write the settings under neuron: in the profile, or start the container with --entrypoint",
    )


RULES = (no_device, healthcheck_port, mangled_json)
