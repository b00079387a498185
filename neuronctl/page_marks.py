"""Pages of the docs that hold a part made from the program, between two marks."""

from __future__ import annotations


def between_marks(page: str, begins: str, ends: str, part: str) -> str:
    """The page with `part` between its marks. Raises ValueError without them."""
    before, first, rest = page.partition(begins)
    _, last, after = rest.partition(ends)
    if not first or not last:
        raise ValueError(f"the page lacks {begins} or {ends}")
    return f"{before}{begins}\n{part}\n{ends}{after}"
