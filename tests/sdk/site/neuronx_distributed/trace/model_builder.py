"""Traces graphs, has them compiled one after another, and shards weights."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.jit
from libneuronxla.neuron_cc_wrapper import compile_hlo
from safetensors.torch import save_file, serialize
from stand_in_sdk import enter
from torch_neuronx import get_platform_target

from neuronx_distributed.trace.nxd_model import script_code

logger = logging.getLogger("Neuron")


@dataclass(frozen=True)
class Graph:
    """One model part: its buckets, and the input shape of each."""

    key: str
    hlo: Mapping[str, Any]
    buckets: Sequence[Any]
    shapes: Sequence[Sequence[int]]
    compiler_args: str


class ModelBuilder:
    """Collects graphs; `trace` compiles them, `shard_checkpoint` cuts the weights."""

    def __init__(
        self,
        *,
        local_ranks_size: int,
        start_rank_id: int,
        checkpoint_loader: Callable[[], dict[str, torch.Tensor]],
        compiler_workdir: str,
        logical_nc_config: int,
    ) -> None:
        self.local_ranks_size = local_ranks_size
        self.start_rank_id = start_rank_id
        self.checkpoint_loader = checkpoint_loader
        self.compiler_workdir = compiler_workdir
        self.logical_nc_config = logical_nc_config
        self.model_collection: dict[str, Graph] = {}

    def add(self, graph: Graph) -> None:
        """One more graph to compile."""
        self.model_collection[graph.key] = graph

    def trace(self) -> torch.jit.ScriptModule:
        """Compile all graphs."""
        if os.path.exists(self.compiler_workdir):
            shutil.rmtree(self.compiler_workdir)
        os.makedirs(self.compiler_workdir)
        logger.info("Generating HLOs for the following models: %s", list(self.model_collection))
        temporary = [Path(f"{key}_{rank}.hlo") for key, rank in self._ranked()]
        for file, (key, rank) in zip(temporary, self._ranked(), strict=True):
            file.write_bytes(self._hlo(key, rank))
        enter("trace")
        graphs: dict[str, list[dict[str, Any]]] = {}
        for file, (key, rank) in zip(temporary, self._ranked(), strict=True):
            begun = time.time()
            graph = self.model_collection[key]
            made = {"bucket": graph.buckets[rank], "neff": self._compile(file, key, rank)}
            graphs.setdefault(key, []).append(made)
            logger.info("Finished compiling %s bucket %s in %s seconds", key, rank, time.time() - begun)
        for file in temporary:
            file.unlink(missing_ok=True)
        shapes = {key: [list(one) for one in graph.shapes] for key, graph in self.model_collection.items()}
        state = {"graphs": graphs, "ranks": self.local_ranks_size}
        return torch.jit.ScriptModule(state, script_code(shapes, ", ".join(shapes)))

    def shard_checkpoint(self, serialize_path: str | None = None) -> list[dict[str, torch.Tensor]]:
        """One state dict for each rank of this node; also as files, if it is told where."""
        whole = self.checkpoint_loader()
        shards = [self._shard(whole, rank) for rank in range(self.local_ranks_size)]
        if serialize_path is None:
            return shards
        os.makedirs(serialize_path, exist_ok=True)
        for rank, shard in enumerate(shards, self.start_rank_id):
            path = os.path.join(serialize_path, f"tp{rank}_sharded_checkpoint.safetensors")
            content = serialize(shard)
            enter("shard", lambda path=path, content=content: _write_half(path, content))
            save_file(shard, path)
        return shards

    def _ranked(self) -> list[tuple[str, int]]:
        return [
            (key, rank) for key, graph in self.model_collection.items() for rank in range(len(graph.buckets))
        ]

    def _hlo(self, key: str, rank: int) -> bytes:
        graph = self.model_collection[key]
        described = {"key": key, "bucket": graph.buckets[rank], "shape": graph.shapes[rank], **graph.hlo}
        return json.dumps(described, sort_keys=True, default=str).encode()

    def _compile(self, hlo: Path, key: str, rank: int) -> bytes:
        folder = Path(self.compiler_workdir) / key / f"_tp0_bk{rank}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(hlo, folder / "model.hlo_module.pb")
        arguments = [
            f"--target={get_platform_target()}",
            f"--lnc={self.logical_nc_config}",
            *self.model_collection[key].compiler_args.split(),
            f"--logfile={os.path.abspath(folder)}/log-neuron-cc.txt",
        ]
        compile_hlo(folder / "model.hlo_module.pb", folder / "model.neff", arguments)
        return (folder / "model.neff").read_bytes()

    def _shard(self, whole: dict[str, torch.Tensor], rank: int) -> dict[str, torch.Tensor]:
        """An equal part of each tensor's bytes; the shape is that of the bytes' elements."""
        found = {}
        for name, tensor in whole.items():
            count = len(tensor.data) // tensor.dtype.itemsize
            begin = count * rank // self.local_ranks_size
            end = count * (rank + 1) // self.local_ranks_size
            size = tensor.dtype.itemsize
            found[name] = torch.Tensor(tensor.dtype, (end - begin,), tensor.data[begin * size : end * size])
        return found


def _write_half(path: str, content: bytes) -> None:
    Path(path).write_bytes(content[: len(content) // 2])
