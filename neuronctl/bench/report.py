"""A result as one HTML page that loads nothing: what must be known, pictures, tables, the file itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from html import escape
from pathlib import Path

from neuronctl.bench.arrangement import say_load
from neuronctl.bench.charts import Chart, charts
from neuronctl.bench.look import ON_PAGE
from neuronctl.bench.measures import MEASURES
from neuronctl.bench.picture import page_svg
from neuronctl.bench.result_file import result_text
from neuronctl.bench.schema import BenchResult, Point
from neuronctl.bench.shown import clean, dollars, duration, milliseconds, number, share
from neuronctl.bench.spread import Spread, over_runs

# Nothing may be loaded, run or sent; the style is in the page.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_TIMES = ("ttft", "itl", "tpot", "e2e")
_QUANTILES = ("p50", "p90", "p99")


def report_html(result: BenchResult) -> str:
    """The page. Raises StackUnfit where pictures cannot be drawn."""
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    title = _text(f"{result.name}: bench")
    parts = (
        *_head(result),
        *_remarks(result),
        *_charts(result),
        *_points(result),
        *_facts(result),
        *_words(),
    )
    return "\n".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>",
            *parts,
            f'<script type="application/json" id="result">\n{_embedded(result)}</script>',
            "</body>\n</html>\n",
        )
    )


def _head(result: BenchResult) -> Iterator[str]:
    target, workload = result.target, result.workload
    yield f"<h1>{_text(result.name)}</h1>"
    where = [
        target.model,
        target.url,
        target.backend,
        target.instance,
        f"{result.started_at}, {duration(result.took_s)}",
    ]
    yield f'<p class="soft">{_text(" · ".join(filter(None, where)))}</p>'
    said = [
        f"{workload.kind} prompts",
        f"{workload.api} API",
        f"sent by {result.engine.name} {result.engine.version}",
    ]
    if result.objective is not None:
        limits = {
            "TTFT": result.objective.ttft_s,
            "TPOT": result.objective.tpot_s,
            "whole answer": result.objective.e2e_s,
        }
        told = ", ".join(f"{name} ≤ {duration(limit)}" for name, limit in limits.items() if limit is not None)
        said.append(f"objective: {told}")
    yield f'<p class="soft">{_text(" · ".join(said))}</p>'


def _remarks(result: BenchResult) -> Iterator[str]:
    for remark in result.remarks:
        yield f'<p class="remark {remark.severity}" data-id="{_text(remark.id)}">{_text(remark.text)}</p>'


def _charts(result: BenchResult) -> Iterator[str]:
    drawn = charts(result, ON_PAGE)
    if drawn:
        yield '<h2>Pictures</h2>\n<div class="charts">'
        yield from map(_figure, drawn)
        yield "</div>"


def _figure(chart: Chart) -> str:
    note = f'<p class="note">{_text(chart.note)}</p>' if chart.note else ""
    return f'<figure id="{_text(chart.name)}"><h3>{_text(chart.title)}</h3>{note}{page_svg(chart)}</figure>'


def _points(result: BenchResult) -> Iterator[str]:
    """Each load: medians over its runs, and under them the lowest and highest run."""
    if not result.points:
        return
    yield '<h2>Numbers</h2>\n<p class="note">Medians of the runs; below them the lowest and the highest run. '
    yield 'Times in milliseconds.</p>\n<div class="wide"><table id="points">'
    columns = [column for column in _columns() if any(column[1](point) for point in result.points)]
    yield "<tr><th>load</th>" + "".join(f"<th>{_text(name)}</th>" for name, _ in columns) + "</tr>"
    for point in result.points:
        cells = "".join(f"<td>{tell(point) or '–'}</td>" for _, tell in columns)
        edge = f"<small>{_text(point.load.edge)}</small>" if point.load.edge else ""
        name = f'<td title="{_text(say_load(point.load))}">{_text(point.load.name)}{edge}</td>'
        yield f'<tr data-load="{_text(point.load.name)}">{name}{cells}</tr>'
    yield "</table></div>"


def _columns() -> list[tuple[str, Callable[[Point], str]]]:
    times = [
        (f"{time.upper()} {key}", partial(_cell, f"{time}_{key}")) for time in _TIMES for key in _QUANTILES
    ]
    return [
        ("tokens/s", partial(_cell, "output_throughput")),
        ("requests/s", partial(_cell, "request_throughput")),
        ("goodput/s", partial(_cell, "goodput")),
        ("errors", _errors),
        *times,
        ("$ per million tokens", _cost),
        ("tokens/s and core", _per_core),
        ("client's core", _client),
    ]


def _cell(measure: str, point: Point) -> str:
    found = over_runs(point, measure)
    if found is None:
        return ""
    say = milliseconds if MEASURES[measure].unit == "s" else number
    shown = f'<span data-measure="{measure}" data-value="{found.median!r}">{say(found.median)}</span>'
    return shown + _ends(found, say)


def _ends(found: Spread, say: Callable[[float], str]) -> str:
    return f"<small>{say(found.low)}–{say(found.high)}</small>" if found.shows else ""


def _errors(point: Point) -> str:
    found = over_runs(point, "error_rate")
    return share(found.median) if found and found.high else ""


def _cost(point: Point) -> str:
    return dollars(point.usd_per_million_tokens) if point.usd_per_million_tokens else ""


def _per_core(point: Point) -> str:
    return number(point.output_tokens_per_s_per_core) if point.output_tokens_per_s_per_core else ""


def _client(point: Point) -> str:
    used = [run.client_cpu for run in point.runs if run.client_cpu is not None]
    return share(max(used)) if used else ""


def _facts(result: BenchResult) -> Iterator[str]:
    """What the numbers depend on."""
    target = result.target
    facts: list[tuple[str, object]] = [
        ("artifact", target.key),
        ("cores", target.cores),
        ("compiled batch", target.batch),
        ("compiled input buckets", ", ".join(map(str, target.input_buckets)) or None),
        ("max_model_len", target.max_model_len),
        ("started for this", "yes" if target.started_here else "no, it was running"),
        (
            "server memory",
            f"{result.server_memory_bytes / 2**30:.2f} GiB at most" if result.server_memory_bytes else None,
        ),
        ("client's own delay", "; ".join(_delays(result)) or None),
        ("seed", result.workload.seed),
        ("prompts", result.workload.dataset),
        (
            "price",
            f"{dollars(result.price.usd_per_hour)} an hour ({result.price.source})" if result.price else None,
        ),
        ("neuronctl", result.neuronctl),
        *sorted(result.environment.items()),
    ]
    yield '<h2>Environment</h2>\n<div class="wide"><table class="facts" id="environment">'
    yield from (
        f"<tr><th>{_text(name)}</th><td>{_text(str(said))}</td></tr>"
        for name, said in facts
        if said is not None
    )
    yield "</table></div>"


def _delays(result: BenchResult) -> Iterator[str]:
    for one in result.client_delay:
        first, between = milliseconds(max(one.ttft_s, 0)), milliseconds(max(one.itl_s, 0))
        yield f"{one.concurrency} at once: TTFT {first} ms, ITL {between} ms"


def _words() -> Iterator[str]:
    """What the measures mean."""
    yield '<h2>What the numbers mean</h2>\n<div class="wide"><table class="words">'
    shown = [one for one in MEASURES.values() if not one.name.endswith(("_mean", "_p90", "_p95", "_p99"))]
    yield from (f"<tr><th>{_text(one.name)}</th><td>{_text(one.meaning)}</td></tr>" for one in shown)
    yield "</table></div>"


def _embedded(result: BenchResult) -> str:
    """The result's JSON as it may stand in a script element: nothing in it can end that."""
    return result_text(result).replace("<", "\\u003c")


def _text(said: str) -> str:
    return escape(clean(said), quote=True)
