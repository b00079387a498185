"""Drawing: rows of values as specifications of Vega-Lite.

A plane of points, strips, a waterfall, lines over time. Only the marks of values have an `aria-label`, one
each: what the row has as `said`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from neuronctl.bench.axis import Axis, amount_axis
from neuronctl.bench.labels import GAP, SIDES, Side
from neuronctl.bench.labels import place as place_labels
from neuronctl.bench.look import Look

Row = dict[str, Any]
Spec = dict[str, Any]

# One size fits a phone as it is, and two or three fit side by side on a screen.
WIDTH, HEIGHT = 340, 215
_LEFT = 46
_MOST_LABELS = 24
# The title of an upright axis is written above it, to be read without turning the head.
_ABOVE = {"titleAngle": 0, "titleAlign": "left", "titleX": -_LEFT, "titleY": -12, "titleBaseline": "bottom"}
_SHAPES = (
    "circle",
    "square",
    "triangle-up",
    "diamond",
    "triangle-down",
    "cross",
    "triangle-right",
    "triangle-left",
)


def plane(
    series: Sequence[str], x: Axis, y: Axis, rows: list[Row], look: Look, hollow: Sequence[Row] = ()
) -> Spec:
    """Points on a plane, with a line through each series, whiskers for the spread, and their labels."""
    colors = [look.series[place % len(look.series)] for place in range(len(series))]
    # With all colours used, the next series have the same colours with other shapes.
    shapes = [_SHAPES[(place + place // len(look.series)) % len(_SHAPES)] for place in range(len(series))]
    legend = {"orient": "bottom", "columns": 2} if len(series) > 1 else None
    color = {"field": "series", "scale": {"domain": list(series), "range": colors}, "legend": legend}
    shape = {"field": "series", "scale": {"domain": list(series), "range": shapes}, "legend": legend}
    at = {
        "x": x.channel("x"),
        "y": y.channel("y", **_ABOVE, minExtent=_LEFT, maxExtent=_LEFT),
    }
    line = {"type": "line", "aria": False}
    layers: list[Spec] = [
        {
            "data": {"values": _in_series(rows)},
            "mark": line | {"strokeWidth": 1.5, "opacity": 0.7},
            "encoding": at | {"color": color, "order": {"field": "order"}},
        }
    ]
    if hollow:
        layers += [
            {
                "data": {"values": _in_series(hollow)},
                "mark": line | {"strokeWidth": 1, "strokeDash": [3, 3], "opacity": 0.6},
                "encoding": at | {"color": color, "order": {"field": "order"}},
            },
            {
                "data": {"values": list(hollow)},
                "mark": {"type": "point", "filled": False, "size": 34, "strokeWidth": 1.3},
                "encoding": at | {"color": color, "shape": shape, "description": {"field": "said"}},
            },
        ]
    layers += _whiskers(rows, at, color)
    layers.append(
        {
            "data": {"values": rows},
            "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
            "encoding": at | {"color": color, "shape": shape, "description": {"field": "said"}},
        }
    )
    layers += _labels(rows, hollow, x, y, at, look)
    return {"width": WIDTH, "height": HEIGHT, "config": look.config(), "layer": layers}


def _whiskers(rows: Sequence[Row], at: Spec, color: Spec) -> list[Spec]:
    """Lines from the lowest to the highest run, where they differ."""
    layers = []
    for axis, other in (("x", "y"), ("y", "x")):
        wide = [row for row in rows if row[f"{axis}_low"] < row[f"{axis}_high"]]
        if wide:
            ends = {axis: {**at[axis], "field": f"{axis}_low"}, f"{axis}2": {"field": f"{axis}_high"}}
            layers.append(
                {
                    "data": {"values": wide},
                    "mark": {"type": "rule", "strokeWidth": 1.5, "aria": False},
                    "encoding": ends | {other: at[other], "color": color},
                }
            )
    return layers


def _labels(rows: Sequence[Row], hollow: Sequence[Row], x: Axis, y: Axis, at: Spec, look: Look) -> list[Spec]:
    """What is written beside the points, as far as there is room: a layer for each side."""
    marks = [*rows, *hollow]
    spots = [_spot(row, x, y) for row in marks]
    texts = _told(rows) + [""] * len(hollow)
    lines = [
        [_spot(row, x, y) for row in group if row["series"] == name]
        for group in (rows, hollow)
        for name in {row["series"] for row in group}
    ]
    found = place_labels(spots, texts, lines, (WIDTH, HEIGHT))
    layers = []
    for side in SIDES:
        on_side = [row for row, one in zip(marks, found, strict=True) if one == side]
        if on_side:
            mark = {"type": "text", "fontSize": 12, "color": look.ink, "aria": False} | _beside(side)
            layers.append(
                {
                    "data": {"values": on_side},
                    "mark": mark,
                    "encoding": at | {"text": {"field": "label"}},
                }
            )
    return layers


def _told(rows: Sequence[Row]) -> list[str]:
    """The labels; of very many only the last of each series."""
    if len(rows) <= _MOST_LABELS:
        return [row["label"] for row in rows]
    last = {row["series"]: place for place, row in enumerate(rows)}
    return [row["label"] if last[row["series"]] == place else "" for place, row in enumerate(rows)]


def _spot(row: Row, x: Axis, y: Axis) -> tuple[float, float]:
    return x.share(row["x"]) * WIDTH, (1 - y.share(row["y"])) * HEIGHT


def _beside(side: Side) -> Spec:
    """The style of a label on this side."""
    style: Spec = {"align": "right", "dx": -GAP} if side.endswith("left") else {"align": "left", "dx": GAP}
    if side.startswith("above"):
        return style | {"baseline": "bottom", "dy": -GAP / 2}
    if side.startswith("below"):
        return style | {"baseline": "top", "dy": GAP / 2}
    return style | {"baseline": "middle"}


def strips(x: Axis, ticks: list[Row], bars: list[Row], names: dict[str, str], look: Look) -> Spec:
    """A strip for each point, below each other."""
    step = 24 if len(bars) <= 16 else 16
    # The row's number keeps points of one name apart; what is written is the name.
    written = f"({json.dumps(names)})[datum.value]"
    rows = {
        "field": "row",
        "type": "nominal",
        "axis": {
            "labelExpr": written,
            "labelColor": look.ink,
            "labelLimit": 130,
            "ticks": False,
            "domain": False,
            "grid": False,
            "minExtent": _LEFT,
        },
        "title": None,
    }
    color = look.series[0]
    at = {"y": rows, "x": x.channel("x")}
    return {
        "width": WIDTH - 60,
        "height": {"step": step},
        "config": look.config(),
        "layer": [
            {
                "data": {"values": bars},
                "mark": {"type": "bar", "height": step * 0.42, "color": color, "opacity": 0.3, "aria": False},
                "encoding": {
                    "y": rows,
                    "x": x.channel("x_low"),
                    "x2": {"field": "x_high"},
                },
            },
            {
                "data": {"values": ticks},
                "mark": {
                    "type": "tick",
                    "size": step * 0.55,
                    "thickness": 1,
                    "color": color,
                    "opacity": 0.8,
                    "aria": False,
                },
                "encoding": at,
            },
            {
                "data": {"values": bars},
                "mark": {
                    "type": "point",
                    "shape": "diamond",
                    "filled": False,
                    "size": 40,
                    "color": color,
                    "aria": False,
                },
                "encoding": {"y": rows, "x": x.channel("tail")},
            },
            {
                "data": {"values": bars},
                "mark": {"type": "point", "filled": True, "size": 50, "color": look.ink, "opacity": 1},
                "encoding": at | {"description": {"field": "said"}},
            },
        ],
    }


def waterfall(x: Axis, rows: list[Row], look: Look) -> Spec:
    y = {
        "field": "row",
        "type": "nominal",
        "axis": {
            "labelExpr": f"({json.dumps({row['row']: row['name'] for row in rows})})[datum.value]",
            "labelColor": look.ink,
            "labelLimit": 150,
            "ticks": False,
            "domain": False,
        },
        "title": None,
    }
    ends = {"y": y, "x": x.channel("since"), "x2": {"field": "until"}}
    return {
        "width": WIDTH - 60,
        "height": {"step": 26},
        "config": look.config(),
        "layer": [
            {
                "data": {"values": rows},
                # A phase that is too short to be seen is still there.
                "mark": {"type": "bar", "height": 14, "color": look.series[0], "stroke": look.series[0]},
                "encoding": ends | {"description": {"field": "said"}},
            },
            {
                "data": {"values": rows},
                "mark": {
                    "type": "text",
                    "align": "left",
                    "dx": 5,
                    "fontSize": 12,
                    "color": look.ink,
                    "aria": False,
                },
                "encoding": {"y": y, "x": x.channel("until"), "text": {"field": "took"}},
            },
        ],
    }


def two_lines(x: Axis, rows: list[Row], look: Look) -> Spec:
    """Two small planes above each other that share their time."""
    filled = [row for row in rows if row["chosen"]]
    panels = []
    for field, title, color in (
        ("tokens", "tokens/s", look.series[0]),
        ("busy", "in flight", look.series[1]),
    ):
        y = amount_axis(title, [0.0, *(row[field] for row in rows)])
        last = field == "busy"
        time = x.channel("x", labels=last, ticks=last) | {"title": x.title if last else None}
        at = {"x": time, "y": y.channel(field, **_ABOVE, tickCount=3, minExtent=_LEFT, maxExtent=_LEFT)}
        layers = [
            {
                "data": {"values": rows},
                "mark": {"type": "line", "strokeWidth": 1, "opacity": 0.6, "color": color, "aria": False},
                "encoding": at | {"detail": {"field": "run"}},
            }
        ]
        if filled:
            layers.insert(
                0,
                {
                    "data": {"values": filled},
                    "mark": {"type": "area", "opacity": 0.25, "color": color, "aria": False},
                    "encoding": at,
                },
            )
        panels.append({"width": 270, "height": 66, "layer": layers})
    return {"config": look.config(), "spacing": 10, "vconcat": panels}


def _in_series(rows: Sequence[Row]) -> list[Row]:
    """The rows of series that a line can go through."""
    several = {row["series"] for row in rows if sum(other["series"] == row["series"] for other in rows) > 1}
    return [row for row in rows if row["series"] in several]
