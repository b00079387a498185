"""Report: a result as one HTML page that needs nothing else, not even a network.

The page runs no script and may load nothing (its Content-Security-Policy says so). All text is escaped; the
result itself is inside as JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import groupby
from pathlib import Path

import msgspec

from neuronctl.bench.arrangement import say_load
from neuronctl.bench.charts import Chart, charts
from neuronctl.bench.column import COST, OUTPUT, RATES, TIMES, Column, errors, measured, with_data
from neuronctl.bench.facts import facts
from neuronctl.bench.look import ON_PAGE
from neuronctl.bench.measures import MEASURES
from neuronctl.bench.picture import page_svg
from neuronctl.bench.schema import BenchResult, Point
from neuronctl.bench.shown import clean, duration, milliseconds
from neuronctl.bench.spread import Spread

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
# More timelines than these are folded away.
_OPEN = 6
_QUICKEST = (
    measured("", "quickest first token, ms", "ttft_p50", milliseconds),
    measured("", "quickest token after it, ms", "tpot_p50", milliseconds),
)


def report_html(result: BenchResult) -> str:
    """The page. Raises StackUnfit where no pictures can be drawn."""
    drawn = charts(result, ON_PAGE)
    parts = [
        _head(result),
        _remarks(result),
        _figures(result),
        _charts("Throughput and latency", _of("throughput", drawn)),
        _points(result),
        _charts("Distributions", _of("distribution", drawn)),
        _charts("Start-up", _of("startup", drawn)),
        _timelines(_of("timeline", drawn)),
        _environment(result),
        _definitions(),
    ]
    style = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{_text(result.name)} – neuronctl bench</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + f"\n{_json(result)}\n</body>\n</html>\n"
    )


def _head(result: BenchResult) -> str:
    target = result.target
    known = [target.model, target.instance, target.backend and f"backend {target.backend}"]
    known += [f"{target.cores} cores" if target.cores else None, result.started_at]
    said = "".join(f"<li>{_own(fact)}</li>" for fact in known if fact)
    badge = '<span class="badge">partial</span>' if result.status == "partial" else ""
    return f'<header>\n<h1>{_own(result.name)}{badge}</h1>\n<ul class="facts">{said}</ul>\n</header>'


def _remarks(result: BenchResult) -> str:
    told = [(one.severity, one.id, one.text) for one in result.remarks]
    if result.status == "partial" and not any(id_ == "partial" for _, id_, _ in told):
        told.insert(0, ("error", "partial", result.why_partial or "not all that was asked for was measured"))
    items = "".join(
        f'<li class="{severity}"><b>{severity}</b> <code>{_text(id_)}</code> {_own(text)}</li>'
        for severity, id_, text in told
    )
    return f'<section aria-label="Remarks"><ul class="remarks">{items}</ul></section>' if told else ""


def _figures(result: BenchResult) -> str:
    """The few numbers that are asked for first."""
    shown = [_best("highest throughput, output tokens/s", OUTPUT, result.points, highest=True)]
    shown += [_best(column.head, column, result.points) for column in _QUICKEST]
    shown.append(_best("cheapest million output tokens", COST, result.points))
    for start in result.startup:
        shown.append(_figure(f"{start.kind} start", duration(start.ready_s), "until ready"))
    return (
        f'<section class="figures" aria-label="Key figures">{"".join(shown)}</section>' if any(shown) else ""
    )


def _best(title: str, column: Column, points: Sequence[Point], *, highest: bool = False) -> str:
    found = [(spread, point) for point in points if (spread := column.of(point)) is not None]
    # Without a single whole answer a rate is nothing to be proud of.
    found = [(spread, point) for spread, point in found if spread.median > 0]
    if not found:
        return ""
    spread, point = (max if highest else min)(found, key=lambda one: one[0].median)
    return _figure(title, column.say(spread.median), point.load.name)


def _figure(title: str, value: str, place: str) -> str:
    return (
        f"<div><small>{_text(title)}</small><strong>{_text(value)}</strong><small>{_own(place)}</small></div>"
    )


def _charts(title: str, drawn: Sequence[Chart]) -> str:
    if not drawn:
        return ""
    figures = "\n".join(_chart(chart) for chart in drawn)
    return f'<section>\n<h2>{title}</h2>\n<div class="charts">\n{figures}\n</div>\n</section>'


def _chart(chart: Chart) -> str:
    note = f"<p>{_own(chart.note)}</p>" if chart.note else ""
    return (
        f'<figure id="{chart.name}">\n<figcaption><h3>{_own(chart.title)}</h3>{note}</figcaption>\n'
        f"{page_svg(chart)}\n</figure>"
    )


def _timelines(drawn: Sequence[Chart]) -> str:
    if not drawn:
        return ""
    figures = "\n".join(_chart(chart) for chart in drawn)
    is_open = " open" if len(drawn) <= _OPEN else ""
    return (
        f"<section>\n<details{is_open}><summary><h2>Timelines</h2></summary>\n"
        f'<div class="charts small">\n{figures}\n</div>\n</details>\n</section>'
    )


def _points(result: BenchResult) -> str:
    if not result.points:
        return ""
    several = max(len(point.runs) for point in result.points) > 1
    note = "<p>Medians of the runs, and below them the lowest and the highest run.</p>" if several else ""
    tables = [
        _table(result, with_data(columns, result), last) for columns, last in ((RATES, True), (TIMES, False))
    ]
    return f"<section>\n<h2>All points</h2>\n{note}{''.join(tables)}\n</section>"


def _table(result: BenchResult, columns: Sequence[Column], with_errors: bool) -> str:
    if not columns:
        return ""
    failing = with_errors and any(errors(point) for point in result.points)
    groups = [(name, len(list(of))) for name, of in groupby(columns, key=lambda one: one.group)]
    heads = "".join(
        f'<th scope="colgroup" colspan="{count}"{_meaning(name)}>{_text(name)}</th>' for name, count in groups
    )
    firsts = {id(next(of)) for _, of in groupby(columns, key=lambda one: one.group)}
    below = "".join(f'<th{_first(one, firsts)} scope="col">{_text(one.head)}</th>' for one in columns)
    rows = []
    for point in result.points:
        cells = "".join(_cell(column, column.of(point), _first(column, firsts)) for column in columns)
        cells += f'<td class="first words">{_own(errors(point))}</td>' if failing else ""
        edge = f"<small>{_own(point.load.edge)}</small>" if point.load.edge else ""
        load = f'<th scope="row" title="{_text(say_load(point.load))}">{_own(point.load.name)}{edge}</th>'
        runs = f'<td class="runs">{len(point.runs)}</td>'
        rows.append(f"<tr>{load}{runs}{cells}</tr>")
    tail = '<th rowspan="2" class="words">errors by kind</th>' if failing else ""
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="table of points"><table>\n'
        f'<thead><tr><th rowspan="2">load</th><th rowspan="2">runs</th>{heads}{tail}</tr>'
        f"<tr>{below}</tr></thead>\n"
        f"<tbody>\n{chr(10).join(rows)}\n</tbody></table></div>\n"
    )


def _first(column: Column, firsts: set[int]) -> str:
    return ' class="first"' if id(column) in firsts else ""


def _meaning(group: str) -> str:
    """What a group of times is, where the pointer rests on it."""
    measure = MEASURES.get(f"{group.partition(',')[0].lower()}_p50")
    return f' title="{_text(measure.meaning)}"' if measure else ""


def _cell(column: Column, spread: Spread | None, first: str) -> str:
    if spread is None:
        return f'<td{first}><span class="none" title="not measured">–</span></td>'
    low, high = column.say(spread.low), column.say(spread.high)
    below = f"<small>{_text(low)}–{_text(high)}</small>" if low != high else ""
    return f'<td{first}><data value="{spread.median!r}">{_text(column.say(spread.median))}</data>{below}</td>'


def _environment(result: BenchResult) -> str:
    shown = "\n".join(_facts(title, known) for title, known in facts(result).items() if known)
    return f'<section>\n<h2>Environment</h2>\n<div class="lists">\n{shown}\n</div>\n</section>'


def _facts(title: str, known: Mapping[str, str]) -> str:
    rows = "".join(f"<dt>{_own(name)}</dt><dd>{_own(said)}</dd>" for name, said in known.items())
    return f"<div><h3>{title}</h3><dl>{rows}</dl></div>"


def _definitions() -> str:
    rows = "".join(
        f'<tr><th scope="row"><code>{_text(one.name)}</code></th><td>{_text(one.unit)}</td>'
        f'<td>{one.better}</td><td class="words">{_text(one.meaning)}</td></tr>'
        for one in MEASURES.values()
    )
    return (
        "<section>\n<details><summary><h2>What the measures mean</h2></summary>\n"
        '<div class="scroll" tabindex="0" role="region" aria-label="measures"><table class="definitions">\n'
        "<thead><tr><th>measure</th><th>unit</th><th>better is</th><th>meaning</th></tr></thead>\n"
        f"<tbody>{rows}</tbody></table></div>\n</details>\n</section>\n"
        "<footer>Made by <code>neuronctl bench</code>. The result itself is inside this page, "
        "as JSON in the element <code>#result</code>.</footer>"
    )


def _json(result: BenchResult) -> str:
    """The result, with nothing in it that could end the element: JSON has `<` within its strings only."""
    content = msgspec.json.encode(result).decode().replace("<", "\\u003c")
    return f'<script type="application/json" id="result">{content}</script>'


def _of(part: str, drawn: Iterable[Chart]) -> list[Chart]:
    return [chart for chart in drawn if chart.part == part]


def _text(text: str) -> str:
    return escape(clean(text))


def _own(text: str) -> str:
    """Text from outside, which may run from right to left and must not turn what is beside it."""
    return f"<bdi>{_text(text)}</bdi>"
