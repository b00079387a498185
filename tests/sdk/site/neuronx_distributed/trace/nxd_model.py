"""The traced model on its device: NEFFs that must fit it, weights that are counted, input shapes."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from stand_in_sdk import device_folder, device_target

# Which devices run which NEFFs: those of one generation of NeuronCores.
_GENERATION = {"inf2": 2, "trn1": 2, "trn1n": 2, "trn2": 3, "trn3": 4}
_SHAPES = "      input_shape_map0 = self.input_shape_map # "


class NxDModel:
    """All graphs of a model."""

    def __init__(self, state: dict[str, Any], code: str) -> None:
        self.graphs = state["graphs"]
        self.ranks = state["ranks"]
        self.shapes: dict[str, list[Any]] = {}
        for line in code.splitlines():
            if line.startswith(_SHAPES):
                self.shapes = json.loads(line[len(_SHAPES) :])
        self.weights = ""

    def initialize(self, weights: Sequence[dict[str, Any]], start_rank: int) -> None:
        """Put NEFFs and weights, one state dict for each rank, onto the device."""
        if not glob.glob(device_folder() + "/neuron*"):
            _runtime_error("TDRV:tdrv_get_dev_info", "No neuron device available")
            _runtime_error("NRT:nrt_init", "nrt_init failed: no device")
            raise RuntimeError("The Neuron runtime could not be initialized: nrt_init() failed")
        for graphs in self.graphs.values():
            for graph in graphs:
                _check_neff(graph["neff"])
        if len(weights) != self.ranks:
            # The real device was not there where this was measured: what it says is not known.
            _log(f"stand-in: ranks handed over {len(weights)} != compiled {self.ranks}")
        digest = hashlib.sha256()
        for shard in weights:
            for name in sorted(shard):
                digest.update(name.encode())
                digest.update(shard[name].data)
        self.weights = digest.hexdigest()[:16]

    def forward(self, tag: str, shape: Sequence[int]) -> None:
        """Run one graph; a batch that it was not compiled for ends in the interpreter of TorchScript."""
        if list(shape) not in self.shapes.get(tag, []):
            import torch.jit

            raise torch.jit.Error(
                "The following operation failed in the TorchScript interpreter.\n"
                "Traceback of TorchScript, serialized code (most recent call last):\n"
                '  File "code/__torch__", line 36, in forward\n'
                "      input_shape_map0 = self.input_shape_map\n"
                "      flattened_input = self.flatten(inputs)\n"
                "      _0 = input_shape_map0[str(shape)]\n"
                "           ~~~~~~~~~~~~~~~~ <--- HERE\n"
                f"RuntimeError: Key {json.dumps(list(shape))} of {tag} not found in dict\n"
            )


def script_code(shapes: dict[str, list[Any]], name: str) -> str:
    """The text of TorchScript code that a traced model is saved with."""
    head = f"# traced model of {name}\nclass NxDModel(Module):\n  __parameters__ = []\n"
    body = "  def forward(self: __torch__.NxDModel,\n    inputs: List[Tensor]) -> List[Tensor]:\n"
    return f"{head}{body}{_SHAPES}{json.dumps(shapes)}\n      return self.run(inputs)\n"


def _check_neff(neff: bytes) -> None:
    head = json.loads(neff.partition(b"\n")[0])
    target = device_target()
    if _GENERATION[head["target"]] != _GENERATION[target]:
        _runtime_error("NEFF:neff_parse", "NEFF version mismatch supported: 1.1 received: 2.0")
        raise RuntimeError(
            f"Could not load the model status=10 message=the NEFF was compiled for {head['target']}, "
            f"the device is {target}"
        )
    variable = os.environ.get("NEURON_LOGICAL_NC_CONFIG") or os.environ.get("NEURON_RT_VIRTUAL_CORE_SIZE")
    lnc = int(variable) if variable else (1 if _GENERATION[target] == 2 else 2)
    if head["lnc"] != lnc:
        raise RuntimeError(
            f"Could not load the model status=2 message=the NEFF was compiled for LNC {head['lnc']}, "
            f"the runtime has LNC {lnc}"
        )


def _runtime_error(where: str, text: str) -> None:
    moment = time.strftime("%Y-%b-%d %H:%M:%S.0000")
    _log(f"{moment}    {os.getpid()}:{os.getpid()}    ERROR  {where}                       {text}")


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - the runtime speaks there
