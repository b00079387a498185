"""Look: the colours and letters of charts, fixed for files, and by name for a page that is light or dark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Look:
    """Colours as CSS knows them. `ground` is the paper, None for none; `series` tells series apart."""

    ink: str
    soft: str
    grid: str
    ground: str | None
    series: tuple[str, ...]

    def config(self) -> dict[str, Any]:
        """Vega-Lite's configuration."""
        return {
            "background": self.ground,
            "font": "Helvetica, Arial, sans-serif",
            "padding": {
                "left": 12,
                "top": 4,
                "right": 4,
                "bottom": 4,
            },
            "view": {"stroke": None},
            "axis": {
                "domainColor": self.soft,
                "gridColor": self.grid,
                "labelColor": self.soft,
                "labelFontSize": 12,
                "labelOverlap": True,
                "tickColor": self.soft,
                "tickSize": 4,
                "titleColor": self.ink,
                "titleFontSize": 12,
                "titleFontWeight": "normal",
                "titlePadding": 8,
            },
            "legend": {
                "columnPadding": 20,
                "labelColor": self.ink,
                "labelFontSize": 12,
                "labelLimit": 200,
                "symbolSize": 60,
                "title": None,
            },
            "title": {
                "anchor": "start",
                "color": self.ink,
                "fontSize": 14,
                "frame": "group",
                "offset": 10,
                "subtitleColor": self.soft,
                "subtitleFontSize": 11,
            },
        }


ON_PAPER = Look(
    ink="#1b1f24",
    soft="#5b6470",
    grid="#e4e7eb",
    ground="#ffffff",
    series=("#1f5fd0", "#c2500a", "#0a7d5a", "#9b2f8f", "#8a6a00", "#0a7f9b", "#c02a37", "#5b46c9"),
)
# report.css gives these their values.
ON_PAGE = Look(
    ink="var(--ink)",
    soft="var(--soft)",
    grid="var(--grid)",
    ground=None,
    series=tuple(f"var(--series-{number})" for number in range(1, 9)),
)
