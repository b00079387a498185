"""A browser without a window for the pages that neuronctl writes; a server that notes what it is asked."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def find_browser() -> str:
    """The browser's path; without one the test is skipped, and fails in CI."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    why = f"none of {', '.join(NAMES)} is on the PATH: `make browser` or apt-get install chromium"
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


def dump_dom(url: str, folder: Path, *, dark: bool = False, width: int = 1280) -> str:
    """The page's document after it was loaded, and its scripts ran if they may."""
    words = [find_browser(), *_OPTIONS, f"--user-data-dir={folder / 'browser'}", f"--window-size={width},900"]
    words.append(f"--blink-settings=preferredColorScheme={0 if dark else 1}")
    done = subprocess.run(
        [*words, "--dump-dom", url],
        env={**os.environ, "HOME": str(folder), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def pages(content: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    """A server of these pages by path: its URL, and the paths it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            found = content.get(self.path)
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write((found or "").encode())

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Element:
    """An element of a page: its name, attributes, children, and the text in all of it."""

    def __init__(self, name: str, attributes: Mapping[str, str | None]) -> None:
        self.name = name
        self.attributes = attributes
        self.children: list[Element | str] = []

    @property
    def text(self) -> str:
        return "".join(one if isinstance(one, str) else one.text for one in self.children)

    def all(self, name: str, **wanted: str) -> list[Element]:
        """Every element of this name in it whose attributes are these."""
        found = []
        for child in self.children:
            if isinstance(child, Element):
                fits = all(child.attributes.get(key.replace("_", "-")) == wanted[key] for key in wanted)
                found += [child] if child.name == name and fits else []
                found += child.all(name, **wanted)
        return found

    def one(self, name: str, **wanted: str) -> Element:
        (found,) = self.all(name, **wanted)
        return found


class _Reader(HTMLParser):
    VOID = frozenset(("meta", "link", "img", "br", "hr", "input"))

    def __init__(self) -> None:
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.open[-1].children.append(element)
        if tag not in self.VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].name == tag, f"</{tag}> ends <{self.open[-1].name}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def read_page(html: str) -> Element:
    """The page as a tree. An element that is not ended, or ended twice, is a mistake."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == [reader.root], [element.name for element in reader.open]
    return reader.root
