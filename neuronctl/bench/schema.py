"""The shape of a result: the file that `neuronctl bench` writes, compares and draws.

One version number covers the whole file (`schema`). Times are seconds and end in `_s`, sizes are bytes, rates
are per second. A value that was not measured is null, never zero. docs/bench-result.schema.json is made from
these classes.

Annotations are evaluated here on purpose (no postponed evaluation), as msgspec reads them.
"""

from typing import Literal

from msgspec import Struct

SCHEMA: Literal["neuronctl.bench/1"] = "neuronctl.bench/1"
# The shares of requests at which a distribution is kept: 0, 5, … 100 %.
GRID = tuple(step / 20 for step in range(21))


class Part(Struct, frozen=True, forbid_unknown_fields=True):
    """What all parts have in common."""


class Remark(Part, frozen=True, kw_only=True):
    """Something that whoever reads the numbers must know first.

    `id` is stable. `severity`: error where the numbers mean something else than they seem to, warning where
    they are weaker than they seem.
    """

    id: str
    severity: Literal["error", "warning", "info"]
    text: str


class Distribution(Part, frozen=True, kw_only=True):
    """One measure over the requests of one run (or, for ITL, over their tokens).

    `count` values; `grid` holds the quantiles at 0, 5, … 100 %.
    """

    count: int
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    grid: tuple[float, ...]


class Timeline(Part, frozen=True, kw_only=True):
    """A run in slices of `width_s`, from its beginning.

    In each `in_flight` requests were being answered on average, and `tokens_per_s` came in.
    """

    width_s: float
    in_flight: tuple[float, ...]
    tokens_per_s: tuple[float, ...]


class Lengths(Part, frozen=True, kw_only=True):
    """How long the requests of a run were that got a whole answer, in tokens.

    `count` of the prompts had up to `upto` tokens, and more than the size before. `longest` is the longest
    prompt with its answer.
    """

    upto: tuple[int, ...]
    count: tuple[int, ...]
    longest: int


class Run(Part, frozen=True, kw_only=True):
    """One run at one point. See docs/bench.md for what each measure means.

    `requests` were sent, `succeeded` of them got a whole answer; `errors` counts the others by kind.
    `goodput_rps` counts only requests that met every part of the objective, and is null without one.
    `client_cpu` is the share of one core that the client's process used: near 1 it was the limit.
    """

    took_s: float
    requests: int
    succeeded: int
    errors: dict[str, int]
    input_tokens: int
    output_tokens: int
    request_rps: float
    output_tokens_per_s: float
    total_tokens_per_s: float
    goodput_rps: float | None
    client_cpu: float | None
    ttft_s: Distribution | None
    itl_s: Distribution | None
    tpot_s: Distribution | None
    e2e_s: Distribution | None
    lengths: Lengths | None = None
    timeline: Timeline | None = None
    raw: str | None = None


class Load(Part, frozen=True, kw_only=True):
    """What a point asks of the server.

    `concurrency` requests at once, null for no limit; `rate_rps` requests a second, null for as fast as
    answered. `input_tokens`, `output_tokens`: what was asked for, null where the prompts decide;
    `prefix_tokens` of the input are the same in all requests. `edge` says which compiled bucket the point
    belongs to.
    """

    concurrency: int | None
    rate_rps: float | None
    input_tokens: int | None
    output_tokens: int | None
    prefix_tokens: int = 0
    requests: int
    edge: str | None = None

    @property
    def name(self) -> str:
        """The load in a few letters, the same for the same load: how points of two results are paired."""
        words = [f"c{self.concurrency}" if self.concurrency else "c∞"]
        if self.rate_rps is not None:
            words.append(f"r{self.rate_rps:g}")
        if self.input_tokens is not None:
            words.append(
                f"{self.prefix_tokens}+{self.input_tokens}" if self.prefix_tokens else f"{self.input_tokens}"
            )
        if self.output_tokens is not None:
            words.append(f"→{self.output_tokens}")
        return " ".join(words)


class Delay(Part, frozen=True, kw_only=True):
    """What the client itself adds, measured against the reference server at one concurrency.

    `ttft_s`, `itl_s`: reported median minus the server's own known times.
    """

    concurrency: int
    ttft_s: float
    itl_s: float


class Point(Part, frozen=True, kw_only=True):
    """One load, with its runs (repeats), and what a price per hour makes of it.

    `usd_per_million_tokens` is for output tokens, at the median run's throughput.
    """

    load: Load
    runs: tuple[Run, ...]
    usd_per_million_tokens: float | None = None
    output_tokens_per_s_per_core: float | None = None


class Phase(Part, frozen=True, kw_only=True):
    """A phase of the server's start, in the order of time."""

    name: str
    took_s: float


class Startup(Part, frozen=True, kw_only=True):
    """How the server came up, where neuronctl started it.

    `kind` is cold where something was compiled first, warm where the artifact was there. `phases` follow one
    another, from the command to the first answer.
    """

    kind: Literal["cold", "warm"]
    phases: tuple[Phase, ...]
    ready_s: float


class Workload(Part, frozen=True, kw_only=True):
    """Where prompts come from. `digest` tells one file of prompts from another (BLAKE3)."""

    kind: Literal["random", "shared-prefix", "jsonl", "sharegpt"]
    api: Literal["completions", "chat"]
    seed: int
    ignore_eos: bool
    dataset: str | None = None
    digest: str | None = None


class Objective(Part, frozen=True, kw_only=True):
    """What counts as good: no slower than these, in seconds; null: not asked for."""

    ttft_s: float | None = None
    tpot_s: float | None = None
    e2e_s: float | None = None


class Target(Part, frozen=True, kw_only=True):
    """What was measured. `profile` and `key` are known only where neuronctl's own profile was served.

    `batch`, `input_buckets` and `max_model_len` are those of the compiled model, null or empty where unknown.
    """

    model: str
    url: str
    profile: str | None = None
    key: str | None = None
    backend: str | None = None
    instance: str | None = None
    cores: int | None = None
    batch: int | None = None
    max_model_len: int | None = None
    input_buckets: tuple[int, ...] = ()
    started_here: bool = False
    server_version: str | None = None


class Engine(Part, frozen=True, kw_only=True):
    """What sent the requests."""

    name: Literal["vllm", "guidellm"]
    version: str
    python: str


class Price(Part, frozen=True, kw_only=True):
    """Dollars for an hour of the whole instance, and who says so."""

    usd_per_hour: float
    source: str


class BenchResult(Part, frozen=True, kw_only=True):
    """One call of `neuronctl bench`.

    `status` is partial where it was broken off; `why_partial` says by what.
    """

    schema: Literal["neuronctl.bench/1"] = SCHEMA
    name: str
    status: Literal["complete", "partial"]
    why_partial: str | None = None
    started_at: str
    took_s: float
    neuronctl: str
    target: Target
    engine: Engine
    workload: Workload
    objective: Objective | None = None
    price: Price | None = None
    environment: dict[str, str]
    startup: tuple[Startup, ...] = ()
    server_memory_bytes: int | None = None
    client_delay: tuple[Delay, ...] = ()
    points: tuple[Point, ...]
    remarks: tuple[Remark, ...] = ()
