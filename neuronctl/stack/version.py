"""Comparing versions of Neuron software.

Neuron's versions are plain numbers with up to six parts, and some are none that PEP 440 knows
(`0.2.1-lts`), so only the leading numbers are compared: `0.8.16251+f3ca5575` is 0.8.16251.
"""

from __future__ import annotations

import re
from functools import cache

# Longer numbers are none of a version, and Python refuses to read thousands of digits.
_NUMBERS = re.compile(r"\d{1,18}(?!\d)(?:\.\d{1,18}(?!\d))*", re.ASCII)
_BOUND = re.compile(r"(>=|<=|==|>|<)\s*(\d[\w.*+-]*)")


@cache
def release(text: str) -> tuple[int, ...]:
    """The leading numbers of a version, without its build, local or pre-release part; empty for none."""
    found = _NUMBERS.match(text.removeprefix("v"))
    return tuple(int(part) for part in found.group().split(".")) if found else ()


def at_least(version: str | None, least: str) -> bool:
    """Whether `version` is known and not older than `least`; a missing last part counts as 0."""
    return version is not None and satisfies(version, f">={least}")


def fits(has: str, wanted: str) -> bool:
    """Whether `has` is `wanted`, or a build or a patch of it: 2.9.1 fits 2.9, 0.5.1+abc fits 0.5.1."""
    wants = release(wanted)
    return bool(wants) and _padded(release(has), len(wants))[: len(wants)] == wants


def newest(versions: tuple[str, ...]) -> str | None:
    """The highest of some versions, None of none."""
    return max(versions, key=release, default=None)


def fits_any(has: str, wanted: tuple[str, ...]) -> bool:
    """Whether `has` fits one of these versions."""
    return any(fits(has, version) for version in wanted)


def satisfies(version: str, bounds: str) -> bool:
    """Whether a version keeps bounds such as `>=2.33`, `==2.24.*` or `>=4.56,<5`.

    `>2.26` and `<=2.26` speak of the whole series: 2.26.10 is not above 2.26, as the release notes mean it.
    Raises ValueError for bounds that are none.
    """
    return all(_keeps(version, bound.strip()) for bound in bounds.split(","))


def _keeps(version: str, bound: str) -> bool:
    parsed = _BOUND.fullmatch(bound)
    if parsed is None:
        raise ValueError(f"{bound!r} is not a bound of a version")
    sign, text = parsed.groups()
    limit = release(text)
    has = _padded(release(version), len(limit))
    series = has[: len(limit)]
    return {
        ">=": has >= limit,
        "<": has < limit,
        ">": series > limit,
        "<=": series <= limit,
        "==": series == limit,
    }[sign]


def _padded(numbers: tuple[int, ...], length: int) -> tuple[int, ...]:
    return numbers + (0,) * (length - len(numbers))
