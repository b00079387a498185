"""Record: what one request did, the common form of what engines write. All measures are made from records."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Record:
    """One request.

    `start_s` counts from any moment that all records of a run share, None where the engine does not say.
    `ttft_s` is None where no token came. `itls_s` are the times between arrivals of text; an arrival may
    carry several tokens. `error` is the kind of failure, None where a whole answer came.
    """

    start_s: float | None
    ttft_s: float | None
    itls_s: tuple[float, ...]
    e2e_s: float | None
    input_tokens: int
    output_tokens: int
    error: str | None = None

    @property
    def tpot_s(self) -> float | None:
        """Time per output token after the first; None for fewer than two tokens."""
        if self.ttft_s is None or self.e2e_s is None or self.output_tokens < 2:
            return None
        return (self.e2e_s - self.ttft_s) / (self.output_tokens - 1)


@dataclass(frozen=True)
class Sent:
    """What an engine sent in one run: the records, how long it took, and the client's processor time."""

    records: tuple[Record, ...]
    took_s: float
    cpu_s: float | None = None
    raw: str | None = None
