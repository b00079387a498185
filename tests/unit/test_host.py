"""Host: where things are, by the environment it was given and nothing else."""

from __future__ import annotations

import os
import pwd
import time
from pathlib import Path

import pytest

from neuronctl.host import Host


def host(**environ: str) -> Host:
    return Host(environ={"HOME": "/home/me", **environ}, cwd=Path("/srv/here"))


@pytest.mark.parametrize(
    ("environ", "home"),
    [
        ({}, "/home/me/.cache/neuronctl"),
        ({"XDG_CACHE_HOME": "/cache"}, "/cache/neuronctl"),
        ({"XDG_CACHE_HOME": ""}, "/home/me/.cache/neuronctl"),
        ({"NEURONCTL_HOME": "/data", "XDG_CACHE_HOME": "/cache"}, "/data"),
        ({"NEURONCTL_HOME": "data"}, "/srv/here/data"),
        ({"NEURONCTL_HOME": "~/data"}, "/home/me/data"),
        ({"NEURONCTL_HOME": "~nobody-at-all/data"}, "/srv/here/~nobody-at-all/data"),
        ({"NEURONCTL_HOME": ""}, "/home/me/.cache/neuronctl"),
    ],
)
def test_where_neuronctl_keeps_things(environ: dict[str, str], home: str) -> None:
    assert host(**environ).neuronctl_home == Path(home)


@pytest.mark.parametrize(
    ("environ", "home"),
    [({}, "/home/me/.config/neuronctl"), ({"XDG_CONFIG_HOME": "/config"}, "/config/neuronctl")],
)
def test_where_the_user_s_own_profiles_are(environ: dict[str, str], home: str) -> None:
    assert host(**environ).config_home == Path(home)


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ("~", "/home/me"),
        ("~/x", "/home/me/x"),
        ("~x", "/srv/here/~x"),
        ("x/y", "/srv/here/x/y"),
        ("./x", "/srv/here/x"),
        ("/x", "/x"),
        ("", "/srv/here"),
    ],
)
def test_paths_as_the_user_says_them(said: str, path: str) -> None:
    assert host().expand(said) == Path(path)


@pytest.mark.parametrize("environ", [{}, {"HOME": ""}])
def test_without_home_the_password_database_knows(environ: dict[str, str]) -> None:
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    assert Host(environ=environ).neuronctl_home == home / ".cache" / "neuronctl"


def test_another_root_stands_for_the_machine(tmp_path: Path) -> None:
    other = Host(environ={}, cwd=tmp_path, root=tmp_path)
    assert other.path("/proc/cpuinfo") == tmp_path / "proc" / "cpuinfo"
    assert host().path("/proc/cpuinfo") == Path("/proc/cpuinfo")


def test_the_environment_is_taken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAID", "before")
    one = Host()
    monkeypatch.setenv("SAID", "after")
    assert one.environ["SAID"] == "before"


@pytest.mark.parametrize(
    "url", ["nonsense", "", "http://[", "gopher://127.0.0.1/", "http://a b/", "http://x:port/"]
)
def test_an_impossible_address_is_an_answer_too(url: str) -> None:
    response = host().http("GET", url, timeout_s=1)
    assert response.status == 0
    assert response.body


def test_an_impossible_header_is_an_answer_too() -> None:
    response = host().http("GET", "http://127.0.0.1:1/", headers={"X": "a\nb"}, timeout_s=1)
    assert response.status == 0


def test_the_clocks_run() -> None:
    one = host()
    assert abs(one.now() - time.time()) < 60
    assert one.monotonic() <= one.monotonic()
