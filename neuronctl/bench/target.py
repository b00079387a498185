"""Target: what is measured, as the plan knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neuronctl.bench.schema import Target
from neuronctl.bench.sweep import Shape

if TYPE_CHECKING:
    from neuronctl.plan.plan import Plan


def shape_of(plan: Plan) -> Shape:
    """What the plan's model is compiled for; the length alone where shapes are not fixed."""
    longest = plan.engine.get("max_model_len")
    length = _integer(longest.value) if longest is not None else None
    outlook = plan.outlook
    if outlook is None or outlook.prediction is None:
        return Shape(max_model_len=length)
    config = outlook.prediction.neuron_config
    buckets = outlook.prediction.buckets.get("context_encoding_model", ())
    plain = [size for size in (_tokens_of(one) for one in buckets) if size is not None]
    return Shape(
        batch=_integer(config.get("batch_size")),
        input_buckets=tuple(sorted(set(plain))),
        max_model_len=length or _integer(config.get("max_length")),
    )


def target_of(plan: Plan, url: str) -> Target:
    """A server that this plan starts."""
    shape = shape_of(plan)
    assigned = plan.outlook.assigned if plan.outlook else None
    return Target(
        model=plan.model.id,
        url=url,
        profile=plan.profile.name,
        key=plan.key,
        backend=plan.backend,
        instance=plan.machine.instance_name,
        cores=len(assigned.ids) if assigned else None,
        batch=shape.batch,
        max_model_len=shape.max_model_len,
        input_buckets=shape.input_buckets,
        started_here=True,
    )


def target_that_runs(plan: Plan, url: str, server_version: str | None) -> Target:
    """A server that somebody has started: that it has the plan's model is known, and nothing of its shape."""
    return Target(
        model=plan.model.id,
        url=url,
        profile=plan.profile.name,
        instance=plan.machine.instance_name,
        server_version=server_version,
    )


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _tokens_of(bucket: object) -> int | None:
    """With prefix caching a bucket is (active, prefix)."""
    first = bucket[0] if isinstance(bucket, (tuple, list)) and bucket else bucket
    return _integer(first)
