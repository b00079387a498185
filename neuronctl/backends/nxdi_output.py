"""What NxD Inference must have left behind a compile, and whether it can be loaded.

The plugin compiles again only for a missing file or a ValueError; any other damage kills each start
(reference: vllm_defaults, outcome_by_damage). So files are looked into before a server ever sees them.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from neuronctl.model.safetensors import find_fault
from neuronctl.neuron.outlook import flat_settings
from neuronctl.neuron.written import FILE, Mismatch, compare, read_written
from neuronctl.plan.plan import Plan

MODEL = "model.pt"
# More ranks than the cores of the largest UltraServer are no number of ranks.
_MOST_RANKS = 4096


def find_faults(tree: Path) -> list[str]:
    """What is missing, cut off or unreadable in a compiled folder, in words; empty where it is whole.

    Required are neuron_config.json, model.pt and, where weights are saved, one file for each rank; for models
    that take images the latter two for each part (reference: vllm_defaults, compiled_artifacts.files).
    """
    try:
        written = read_written(tree)
    except FileNotFoundError:
        return [f"{FILE} is missing"]
    except OSError as error:
        return [f"{FILE} cannot be read: {error.strerror}"]
    except ValueError as error:
        return [str(error)]
    faults: list[str] = []
    for part, config in written.parts:
        faults += _find_model_fault(tree, f"{part}{MODEL}")
        faults += _find_weight_faults(tree, part, config)
    return faults


def find_differences(plan: Plan, tree: Path) -> tuple[Mismatch, ...]:
    """In what a whole compiled folder is not what the plan predicts, decisive fields first."""
    if plan.outlook is None or plan.outlook.prediction is None:
        return ()
    asked = {path.rpartition(".")[2] for path, _ in flat_settings(plan.outlook.settings)}
    return compare(plan.outlook.prediction, read_written(tree), plan.model.config, asked=asked)


def _find_model_fault(tree: Path, name: str) -> Iterator[str]:
    """A TorchScript file is a zip archive; one that is cut off has no directory at its end."""
    try:
        with zipfile.ZipFile(tree / name) as archive:
            if not archive.namelist():
                yield f"{name} is empty"
    except FileNotFoundError:
        yield f"{name} is missing"
    except OSError as error:
        yield f"{name} cannot be read: {error.strerror}"
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        yield f"{name} is damaged: {error}"


def _find_weight_faults(tree: Path, part: str, config: Mapping[str, Any]) -> Iterator[str]:
    if not config.get("save_sharded_checkpoint") or config.get("skip_sharding"):
        return
    first = config.get("start_rank_id") or 0
    count = config.get("local_ranks_size") or config.get("world_size") or config.get("tp_degree")
    if not isinstance(first, int) or not isinstance(count, int) or not 0 < count <= _MOST_RANKS:
        yield f"{FILE} says no number of ranks: start_rank_id {first}, local_ranks_size {count}"
        return
    for rank in range(first, first + count):
        name = f"{part}weights/tp{rank}_sharded_checkpoint.safetensors"
        try:
            fault = find_fault(tree / name)
        except FileNotFoundError:
            yield f"{name} is missing"
        except OSError as error:
            yield f"{name} cannot be read: {error.strerror}"
        else:
            if fault:
                yield f"{name}: {fault}"
