"""Dataset: the file of prompts that a workload has, in the form that engines read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from neuronctl.bench.prompts import check_sharegpt, read_prompts
from neuronctl.errors import UsageError
from neuronctl.host import Host
from neuronctl.profile.schema import BenchSection


@dataclass(frozen=True)
class Dataset:
    """`path` is the file for the engine, `name` the user's; `digest` (BLAKE3) tells what is sent from others.

    `count` is how many prompts it has.
    """

    path: Path
    name: str
    digest: str
    count: int


def read_dataset(said: BenchSection, host: Host, raw: Path) -> Dataset | None:
    """The dataset, None where prompts are made up. `raw` is a folder for what is made of the user's file.

    Raises UsageError for a file that is none, for one too many, and for one that is missing.
    """
    if said.dataset_name not in ("jsonl", "sharegpt"):
        if said.dataset_path is not None:
            raise UsageError(
                f"{said.dataset_name} prompts are made up, so {said.dataset_path} is not read",
                fix="--dataset-name jsonl (or sharegpt)",
                code="bench.odd-dataset",
            )
        return None
    if said.dataset_path is None:
        raise UsageError(
            f"{said.dataset_name} wants a file", fix="--dataset-path FILE", code="bench.no-dataset"
        )
    from blake3 import blake3

    path = host.expand(said.dataset_path)
    if said.dataset_name == "sharegpt":
        count, sent = check_sharegpt(path), path
    else:
        prompts = read_prompts(path, _output_len(said))
        count, sent = len(prompts.texts), raw / "prompts.jsonl"
        prompts.write(sent)
    return Dataset(sent, path.name, blake3(sent.read_bytes()).hexdigest(), count)


def _output_len(said: BenchSection) -> int | None:
    """The one length for all answers, None where each prompt says its own."""
    if not isinstance(said.output_len, tuple):
        return said.output_len
    if len(said.output_len) > 1:
        raise UsageError(
            "one --output-len at most goes with a file of prompts",
            fix="--output-len 128",
            code="bench.lengths",
        )
    return next(iter(said.output_len), None)
