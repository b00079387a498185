"""Other buckets: for prompts of the lengths that were measured, the sizes that pad them the least."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from neuronctl.bench.asked import Asked
from neuronctl.bench.padding import best_buckets, padded_tokens
from neuronctl.bench.proposal import Advice, compile_s, rounded_up
from neuronctl.bench.schema import BenchResult
from neuronctl.bench.shown import duration, share, whole

# A bucket more must save this share of the tokens that are computed now, or it is not worth its compile.
_WORTH = 0.05
_MOST_BUCKETS = 8


def advise_buckets(result: BenchResult, asked: Asked) -> Iterator[Advice]:
    """Buckets are nxdi's: there a prompt takes the smallest that holds it, and is padded to it."""
    target = result.target
    now = tuple(sorted(target.input_buckets))
    has_prefix = any(point.load.prefix_tokens for point in result.points)
    # What of a prompt is computed where its beginning is in the cache, nobody measured.
    if target.backend not in (None, "nxdi") or not now or has_prefix:
        return
    if max(asked.prompts) > now[-1]:
        yield from _longer_prompts(result, asked, now[-1])
        return
    computed_now = padded_tokens(asked.prompts, now)
    tried = [best_buckets(asked.prompts, count, now[-1]) for count in range(1, _MOST_BUCKETS + 1)]
    computed = [padded_tokens(asked.prompts, buckets) for buckets in tried]
    least = next(
        place for place, tokens in enumerate(computed) if tokens - computed[-1] <= _WORTH * computed_now
    )
    proposed, tokens = tried[least], computed[least]
    saved = (computed_now - tokens) / computed_now
    is_cheaper = asked.is_real and len(proposed) < len(now) and tokens <= computed_now
    if saved < _WORTH and not is_cheaper:
        return
    padding_now, padding = 1 - asked.tokens / computed_now, 1 - asked.tokens / tokens
    as_few = ""
    if len(now) < len(proposed) and computed[len(now) - 1] < computed_now:
        with_as_few = 1 - asked.tokens / computed[len(now) - 1]
        as_few = f" ({share(with_as_few)} with no more buckets than now: {_list(tried[len(now) - 1])})"
    yield Advice(
        id="buckets",
        text=f"{share(max(padding_now, 0))} of the prefilled tokens are padding with the buckets "
        f"{_list(now)}; with {_list(proposed)} it would be {share(max(padding, 0))}{as_few}",
        setting={"features": {"buckets": {"prefill": list(proposed)}}},
        gain=f"{share(max(saved, 0))} fewer tokens to prefill; what that is in time to first token, measure",
        cost=_compile_cost(result, len(now), len(proposed)),
        basis=f"{asked.basis}; the largest bucket stays, so that no prompt is refused",
    )


def _longer_prompts(result: BenchResult, asked: Asked, top: int) -> Iterator[Advice]:
    """A bucket for prompts that no bucket holds."""
    length, longest = max(asked.prompts), result.target.max_model_len
    if longest is not None and rounded_up(length) > longest:
        return
    now = result.target.input_buckets
    yield Advice(
        id="buckets",
        text=f"the longest prompt has {whole(length)} tokens, and the largest bucket {whole(top)}",
        setting={"features": {"buckets": {"prefill": [*sorted(now), rounded_up(length)]}}},
        gain="the longest prompts fit",
        cost=_compile_cost(result, len(now), len(now) + 1),
        basis=asked.basis,
    )


def _compile_cost(result: BenchResult, now: int, proposed: int) -> str:
    """What compiling other buckets takes, after the compile that was measured."""
    took = compile_s(result)
    graphs = f"{proposed} prefill buckets instead of {now}" if proposed != now else "as many buckets as now"
    if took is None:
        return f"a new compile, of {graphs}; no compile was measured (--cold does)"
    one = took / now
    more = (proposed - now) * one
    than = f"about {duration(abs(more))} {'more' if more > 0 else 'less'} than" if more else "about"
    return (
        f"a new compile, of {graphs}: {than} the {duration(took)} that were measured (at most "
        f"{duration(one)} a bucket, as if the prefill buckets alone shared all of it)"
    )


def _list(sizes: Sequence[int]) -> str:
    return ", ".join(map(str, sizes))
