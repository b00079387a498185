"""Spread: a measure over the runs of one point: the median run's, and how far the others are from it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from neuronctl.bench.measures import MEASURES, Measure, spread
from neuronctl.bench.schema import Point, Run


@dataclass(frozen=True)
class Spread:
    """Median, lowest and highest of `runs` runs that have the measure."""

    median: float
    low: float
    high: float
    runs: int

    @property
    def shows(self) -> bool:
        """Whether there is a spread to show."""
        return self.runs > 1


def values_of(point: Point, measure: Measure) -> list[float]:
    """A measure in each run that has it."""
    return [value for run in point.runs if (value := measure.of(run)) is not None]


def over_runs(point: Point, measure: str) -> Spread | None:
    """The measure of this name over the runs; None where no run has it."""
    values = [value for value in values_of(point, MEASURES[measure]) if math.isfinite(value)]
    return Spread(*spread(values), len(values)) if values else None


def median_run(point: Point) -> Run | None:
    """The run with the median throughput, of an even number the slower of the two; None without runs."""
    ordered = sorted(point.runs, key=lambda run: run.output_tokens_per_s)
    return ordered[(len(ordered) - 1) // 2] if ordered else None
