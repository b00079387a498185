"""A parser that takes underscores for hyphens, and dotted paths into JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any


class FlexibleArgumentParser(argparse.ArgumentParser):
    """argparse with vLLM's spellings."""

    def __init__(self, *given: Any, **named: Any) -> None:
        named.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*given, **{**named, "allow_abbrev": False})

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> argparse.Namespace:
        """Parse, after all spellings are made one."""
        words = [_plain(word) for word in (sys.argv[1:] if args is None else args)]
        return super().parse_args(_joined(words), namespace)


def _plain(word: str) -> str:
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    name, dot, path = name.partition(".")
    return name.replace("_", "-") + dot + path + equals + value


def _joined(words: list[str]) -> list[str]:
    """`--x.a.b 2` becomes `--x {"a": {"b": 2}}`; all paths of one argument become one."""
    left: list[str] = []
    trees: dict[str, dict[str, Any]] = {}
    rest = iter(words)
    for word in rest:
        head, equals, value = word.partition("=")
        name, dot, path = head.partition(".")
        if not (word.startswith("--") and dot):
            left.append(word)
            continue
        text = value if equals else next(rest, "")
        try:
            leaf = json.loads(text)
        except ValueError:
            leaf = text
        branch = trees.setdefault(name, {})
        *parents, last = path.split(".")
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[last] = leaf
    for name, tree in trees.items():
        left += [name, json.dumps(tree)]
    return left
