"""Load: the text of a profile → a tree of nodes that know their lines.

The tree is built from the parser's events, not by YAML's own constructors: nothing in a profile can name
a Python object, limits hold before memory is used, and each value keeps its line for error messages.
"""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from neuronctl.errors import Place, ProfileError
from neuronctl.profile.scalar import Ambiguous, Scalar, read_plain
from neuronctl.secret import is_secret

if TYPE_CHECKING:
    from yaml.events import Event

MAX_SIZE_BYTES = 1024 * 1024
MAX_NODES = 10_000
MAX_DEPTH = 50
SECRET_IN_QUOTES = "the value (hidden) means different things to YAML readers; put it in quotes"

_YAML_STR = "tag:yaml.org,2002:str"
# What a text file may hold below the space, and everything from it on.
_TEXT_BYTES = bytes([9, 10, 13, *range(32, 127), *range(128, 256)])


class Node(Struct, frozen=True):
    """One value of a profile and the line (1-based) it stands on; None for what came from no file.

    `value` is a scalar, a list of nodes or a mapping to nodes; `key_lines` are the lines of a mapping's
    keys; `size` counts this node and all below it with aliases followed, `depth` the levels below it.
    `plain` is the text of an unquoted scalar. What is refused has been told: no
    second mistake is made of it.
    """

    value: Scalar | list[Node] | dict[str, Node]
    line: int | None = None
    key_lines: dict[str, int] = {}
    size: int = 1
    depth: int = 0
    plain: str | None = None
    is_refused: bool = False

    def data(self) -> Any:
        """The same as plain data. Never deeper than the loader's limit."""
        if isinstance(self.value, dict):
            return {key: node.data() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.data() for node in self.value]
        return self.value


def node_of(value: object) -> Node:
    """A node for plain data that came from no file, such as a flag's value."""
    if isinstance(value, dict):
        return Node({str(key): node_of(inner) for key, inner in value.items()})
    if isinstance(value, (list, tuple)):
        return Node([node_of(inner) for inner in value])
    if value is None or isinstance(value, (str, int, float, bool)):
        return Node(value)
    return Node(str(value))


def dotted(path: tuple[str, ...]) -> str:
    """A key path as it is written for people: `engine.max_model_len`."""
    return ".".join(f'"{key}"' if "." in key or not key else key for key in path)


def read_profile(path: Path, shown: str) -> tuple[Node, list[ProfileError]]:
    """The nodes of the file at `path`, and what is wrong with single values; errors call the file `shown`.

    Raises ProfileError where nothing useful can be read.
    """
    return parse(_decode(_read_bytes(path, shown), shown), shown)


def parse(text: str, shown: str | None) -> tuple[Node, list[ProfileError]]:
    """The nodes of one YAML document. Raises ProfileError where the text is not YAML."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    builder = _Builder(shown)
    try:
        for event in yaml.parse(text, Loader=loader):
            builder.take(event)
    except yaml.YAMLError as error:
        raise _syntax_error(error, text, shown) from None
    if builder.root is None:
        raise ProfileError(
            "the file is empty" if shown else "nothing is said",
            fix="a profile says at least:  model: {id: …}" if shown else None,
            place=Place(shown, 1) if shown else None,
            code="profile.empty",
        )
    return builder.root, builder.errors


def _read_bytes(path: Path, shown: str) -> bytes:
    try:
        found = os.stat(path)
        if stat.S_ISDIR(found.st_mode):
            raise ProfileError(
                "this is a folder, not a profile", fix="name the YAML file in it", place=Place(shown)
            )
        if not stat.S_ISREG(found.st_mode):
            raise ProfileError(
                "this is not an ordinary file",
                fix="save the profile to a file, and name that",
                place=Place(shown),
            )
        with open(path, "rb") as file:
            content = file.read(MAX_SIZE_BYTES + 1)
    except FileNotFoundError:
        raise ProfileError(
            "there is no such file",
            fix="neuronctl profiles list",
            place=Place(shown),
            code="profile.missing",
        ) from None
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ProfileError(
            f"the file cannot be read: {reason}",
            fix=f"let this user read it: ls -l {shlex.quote(shown)}",
            place=Place(shown),
        ) from None
    if len(content) > MAX_SIZE_BYTES:
        raise ProfileError(
            "the file is larger than 1 MiB: that is no profile",
            fix="name the YAML file that was meant: neuronctl profiles list",
            place=Place(shown),
        )
    return content


def _decode(content: bytes, shown: str) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ProfileError("the file is UTF-16", fix="save it as UTF-8", place=Place(shown, 1))
    if content.startswith(b"\xef\xbb\xbf"):
        content = content[3:]  # some editors put a byte order mark before UTF-8; it means nothing
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ProfileError(
            "this line is not UTF-8", fix="save the file as UTF-8", place=Place(shown, line)
        ) from None
    if strange := content.translate(None, _TEXT_BYTES):
        at = content.index(strange[:1])
        line = content.count(b"\n", 0, at) + 1
        name = "a NUL byte" if strange[0] == 0 else f"control character 0x{strange[0]:02x}"
        raise ProfileError(
            f"{name} in the text: this is no text file",
            fix="name the YAML file that was meant, or save it as plain UTF-8",
            place=Place(shown, line),
        )
    return text


def _syntax_error(error: Any, text: str, shown: str | None) -> ProfileError:
    """The parser's complaint in words about profiles. Its own message never holds values."""
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "not readable"
    # Where something begins that never ends is more use than where the parser gave up.
    begins = any(part in problem for part in ("could not find expected ':'", "',' or", "end of stream"))
    marks = [getattr(error, "context_mark", None), getattr(error, "problem_mark", None)]
    mark = next((mark for mark in (marks if begins else marks[::-1]) if mark is not None), None)
    line = mark.line + 1 if mark else None
    lines = text.split("\n")
    fix: str | None = None
    tab_line = _tab_indented(lines, line)
    if tab_line is not None:
        line, what, fix = (
            tab_line,
            "a tab at the beginning of the line",
            "indent with spaces: YAML knows no tabs",
        )
    elif "mapping values are not allowed" in problem:
        what = "a second `: ` on one line, or a key under a value"
        fix = "put a value that holds `: ` in quotes, and check the indentation"
    elif "could not find expected ':'" in problem:
        what, fix = "a key without `: `", "write  key: value"
    elif "did not find expected key" in problem or "block collection" in problem or "<block end>" in problem:
        what = "the indentation does not fit the lines above"
        fix = "keys of one section begin in the same column"
    elif "node content" in problem:
        what, fix = "a list or mapping is still open here, or a value is missing", "write  [a, b]  or  {a: b}"
    elif "',' or" in problem:
        what, fix = (
            "a list or mapping that begins here does not end",
            "write  [a, b]  or  {a: b}",
        )
    elif "end of stream" in problem:
        what, fix = "quotes that are opened here are not closed", "close them"
    elif "cannot start any token" in problem:
        what, fix = "a value cannot begin like this", "put the value in quotes"
    else:
        what = f"not YAML: {problem}"
    return ProfileError(what, fix=fix, place=Place(shown, line) if shown else None, code="profile.syntax")


def _tab_indented(lines: list[str], near: int | None) -> int | None:
    """The complained line, or the one before or after, where its indentation holds a tab."""
    for number in (near, (near or 0) - 1, (near or 0) + 1):
        if number is not None and 0 < number <= len(lines):
            line = lines[number - 1]
            if "\t" in line[: len(line) - len(line.lstrip())] and line.strip():
                return number
    return None


class _Frame:
    """A list or mapping that is still open."""

    __slots__ = ("anchor", "depth", "is_refused", "key", "key_line", "key_lines", "line", "size", "value")

    def __init__(self, value: list[Node] | dict[str, Node], line: int, anchor: str | None) -> None:
        self.value = value
        self.line = line
        self.anchor = anchor
        self.key: str | None = None
        self.key_line = line
        self.key_lines: dict[str, int] = {}
        self.size = 1
        self.depth = 0
        self.is_refused = False


class _Builder:
    """Events in, one tree out. Refuses what is dangerous at once; collects what is only wrong."""

    def __init__(self, shown: str | None) -> None:
        self.shown = shown
        self.errors: list[ProfileError] = []
        self.root: Node | None = None
        self._open: list[_Frame] = []
        self._anchors: dict[str, Node | None] = {}  # None: begun and not yet closed
        self._size = 0
        self._documents = 0

    def take(self, event: Event) -> None:
        """Take the parser's next event. Raises ProfileError for what must not be read on."""
        kind = type(event).__name__
        line = event.start_mark.line + 1 if event.start_mark else 1
        if kind == "ScalarEvent":
            self._scalar(event, line)
        elif kind in ("MappingStartEvent", "SequenceStartEvent"):
            self._begin(event, kind, line)
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            self._end()
        elif kind == "AliasEvent":
            self._alias(event, line)
        elif kind == "DocumentStartEvent":
            self._documents += 1
            if self._documents > 1:
                raise self._error("a second document begins (`---`)", line, "keep one profile in one file")

    def _error(self, what: str, line: int, fix: str | None = None) -> ProfileError:
        path = dotted(tuple(frame.key for frame in self._open if frame.key is not None))
        return ProfileError(
            what, fix=fix, place=Place(self.shown, line if self.shown else None, path or None)
        )

    def _begin(self, event: Any, kind: str, line: int) -> None:
        frame = self._open[-1] if self._open else None
        if frame is not None and isinstance(frame.value, dict) and frame.key is None:
            raise self._error("a key must be a word, not a list or a mapping", line)
        if len(self._open) >= MAX_DEPTH:
            raise self._error(f"nested deeper than {MAX_DEPTH} levels", line)
        wanted = "tag:yaml.org,2002:map" if kind == "MappingStartEvent" else "tag:yaml.org,2002:seq"
        if event.tag not in (None, "!", wanted):
            self.errors.append(self._error(*_refused_tag(event.tag, line)))
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        self._open.append(_Frame({} if kind == "MappingStartEvent" else [], line, event.anchor))
        self._count(1, line)

    def _end(self) -> None:
        frame = self._open.pop()
        node = Node(frame.value, frame.line, frame.key_lines, frame.size, frame.depth, None, frame.is_refused)
        if frame.anchor is not None:
            self._anchors[frame.anchor] = node
        self._put(node)

    def _alias(self, event: Any, line: int) -> None:
        if event.anchor not in self._anchors:
            raise self._error(f"`*{event.anchor}` refers to no `&{event.anchor}` before it", line)
        node = self._anchors[event.anchor]
        if node is None:
            raise self._error(f"`*{event.anchor}` refers to itself", line)
        frame = self._open[-1] if self._open else None
        if frame is not None and isinstance(frame.value, dict) and frame.key is None:
            raise self._error("an alias cannot be a key", line, "write the key out")
        if len(self._open) + node.depth > MAX_DEPTH:
            raise self._error(f"nested deeper than {MAX_DEPTH} levels", line)
        self._count(node.size, line)
        self._put(node)

    def _scalar(self, event: Any, line: int) -> None:
        frame = self._open[-1] if self._open else None
        is_plain = not event.style and event.tag is None
        before = len(self.errors)
        if frame is not None and isinstance(frame.value, dict) and frame.key is None:
            self._key(frame, event, line, is_plain)
            return
        self._count(1, line)
        value: Scalar = event.value
        if event.tag not in (None, "!", _YAML_STR):
            self.errors.append(self._error(*_refused_tag(event.tag, line)))
        elif is_plain:
            try:
                value = read_plain(event.value)
            except Ambiguous as problem:
                keys = tuple(frame.key for frame in self._open if frame.key is not None)
                what = SECRET_IN_QUOTES if is_secret(keys, event.value) else str(problem)
                self.errors.append(self._error(what, line))
        if isinstance(value, str) and "\0" in value:
            self.errors.append(self._error("a NUL character in a text", line))
        node = Node(
            value, line, plain=event.value if is_plain else None, is_refused=len(self.errors) > before
        )
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        self._put(node)

    def _key(self, frame: _Frame, event: Any, line: int, is_plain: bool) -> None:
        key: str = event.value
        if event.tag not in (None, "!", _YAML_STR):
            self.errors.append(self._error(*_refused_tag(event.tag, line)))
        elif is_plain and key == "<<":
            raise self._error(
                "merge keys (`<<`) are not read",
                line,
                "say `extends:`, or repeat the whole section with an alias",
            )
        elif is_plain and not key:
            self.errors.append(self._error("a key is missing before `:`", line))
        elif is_plain and key[0] in "+-.0123456789~nNtTfF" and not _is_word(key):
            self.errors.append(
                self._error(f"the key `{key[:40]}` is not a word", line, f'write it in quotes: "{key[:40]}"')
            )
        if key in frame.key_lines:
            first = frame.key_lines[key]
            frame.key = key
            self.errors.append(
                self._error(
                    f"said twice, in line {first} and in line {line}",
                    line,
                    "keep one of them, or join the two",
                )
            )
        if event.anchor is not None:
            self._anchors[event.anchor] = Node(key, line)
        frame.key = key
        frame.key_line = line
        frame.key_lines.setdefault(key, line)
        self._count(1, line)

    def _put(self, node: Node) -> None:
        if not self._open:
            self.root = node
            return
        frame = self._open[-1]
        frame.size += node.size
        frame.depth = max(frame.depth, node.depth + 1)
        if isinstance(frame.value, list):
            frame.value.append(node)
            frame.is_refused = frame.is_refused or node.is_refused
        else:
            assert frame.key is not None
            frame.value.setdefault(frame.key, node)
            frame.key = None

    def _count(self, nodes: int, line: int) -> None:
        self._size += nodes
        if self._size > MAX_NODES:
            raise self._error(
                f"more than {MAX_NODES} values, aliases followed: that is no profile",
                line,
                "write fewer aliases",
            )


def _is_word(key: str) -> bool:
    try:
        return isinstance(read_plain(key), str)
    except Ambiguous:
        return False


def _refused_tag(tag: str, line: int) -> tuple[str, int, str]:
    shown = tag.replace("tag:yaml.org,2002:", "!!")[:60]
    return f"the tag `{shown}` is not read", line, "leave the tag out; quotes make a text"
