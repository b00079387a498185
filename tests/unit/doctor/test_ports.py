"""Whether a server can listen where it should, and which servers run, on machines made of files."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path

import pytest

from neuronctl.doctor.check import CannotTell, NotHere, Seen
from neuronctl.doctor.checks.ports import port, servers
from neuronctl.doctor.facts import Facts
from neuronctl.host import Host
from neuronctl.machine.ancestors import ancestors
from neuronctl.machine.listeners import holders, read_listeners
from neuronctl.pipeline import Request
from tests.plan_sample import sample_host

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
LOOPBACK, ANY, ANY6 = "0100007F", "00000000", "0" * 32
LOOPBACK6, MAPPED = "0" * 24 + "01000000", "0000000000000000FFFF00000100007F"
PYTHON = "/venv/bin/python3"


class Proc:
    """A machine's /proc, written file by file."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "proc"
        (self.folder / "net").mkdir(parents=True)

    def listen(
        self, address: str, port: int, inode: int, *, state: str = "0A", uid: int = 0, file: str = "tcp"
    ) -> None:
        path = self.folder / "net" / file
        before = path.read_text() if path.exists() else HEAD
        ends = f"{address}:{port:04X} {ANY}:0000 {state} 00000000:00000000 00:00000000 00000000"
        path.write_text(f"{before}   0: {ends} {uid:5d} 0 {inode} 1 0000000000000000 100 0 0 10 0\n")

    def run(
        self, pid: int, *words: str, name: str = "python3", parent: int = 1, socket: int | None = None
    ) -> None:
        folder = self.folder / str(pid)
        (folder / "fd").mkdir(parents=True)
        (folder / "stat").write_text(f"{pid} ({name}) S {parent} 1 1 0 -1\n")
        (folder / "status").write_text(f"Name:\t{name}\nUid:\t{os.getuid()}\t0\t0\t0\n")
        (folder / "cmdline").write_text("\0".join(words) + "\0")
        (folder / "fd" / "0").symlink_to("/dev/null")
        if socket is not None:
            (folder / "fd" / "3").symlink_to(f"socket:[{socket}]")


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


def look_at_port(root: Path, server: str = "{host: 127.0.0.1, port: 8000}") -> Seen:
    """The port of a profile on that machine."""
    (root / "p.yaml").write_text(f"model: {{id: org/small}}\nserver: {server}\n")
    return port.look(Facts(sample_host(root), request=Request("./p.yaml")))


def bound(monkeypatch: pytest.MonkeyPatch, *, free: bool) -> None:
    """What the kernel says to a server that would listen."""
    monkeypatch.setattr(Host, "port_is_free", lambda self, address, port: free)


def test_a_port_that_nobody_has_is_free(proc: Proc, monkeypatch: pytest.MonkeyPatch) -> None:
    proc.listen(LOOPBACK, 8001, 5)
    proc.listen(LOOPBACK, 8000, 6, state="01")  # a connection, no listener
    bound(monkeypatch, free=True)
    seen = look_at_port(proc.root)
    assert (seen.findings, seen.data["free"]) == ((), True)


def test_a_port_that_is_taken_is_an_error_that_names_who_has_it(proc: Proc) -> None:
    proc.listen(ANY, 8000, 77)
    proc.listen(ANY, 8001, 78)
    proc.run(41, "/usr/sbin/nginx", "--secret=hunter2", name="nginx", socket=77)
    [finding] = (seen := look_at_port(proc.root)).findings
    assert (finding.id, finding.severity) == ("port.in-use", "error")
    assert "41 (nginx, " in finding.message
    assert "hunter2" not in str(seen)
    assert "kill 41" in str(finding.fix)
    assert "server.port=8002" in str(finding.fix), "8001 is taken as well"
    assert seen.data["listener"]["pid"] == 41  # type: ignore[index]


def test_a_container_on_the_host_s_network_is_named(proc: Proc) -> None:
    proc.listen("0100007F", 8000, 9)
    proc.run(41, "/usr/sbin/nginx", name="nginx", socket=9)
    (proc.folder / "41" / "cgroup").write_text(f"0::/system.slice/docker-{'0a' * 32}.scope\n")
    (finding,) = look_at_port(proc.root).findings
    assert "stop container 0a0a0a0a0a0a" in str(finding.fix)
    assert "kill" not in str(finding.fix)


def test_who_has_it_may_be_hidden(proc: Proc) -> None:
    proc.listen(LOOPBACK, 8000, 77, uid=54321)
    [finding] = look_at_port(proc.root).findings
    assert finding.id == "port.in-use"
    assert "user 54321" in finding.message
    assert "another container" in finding.message


@pytest.mark.parametrize(
    ("listener", "file", "wanted", "taken"),
    [
        (LOOPBACK, "tcp", "127.0.0.1", True),
        (LOOPBACK, "tcp", "localhost", True),
        (LOOPBACK, "tcp", "0.0.0.0", True),
        (MAPPED, "tcp6", "127.0.0.1", True),
        (LOOPBACK6, "tcp6", "'::1'", True),
        (LOOPBACK6, "tcp6", "127.0.0.1", False),
        ("0500000A", "tcp", "127.0.0.1", False),  # 10.0.0.5
    ],
)
def test_only_an_address_in_the_way_counts(
    proc: Proc, monkeypatch: pytest.MonkeyPatch, listener: str, file: str, wanted: str, taken: bool
) -> None:
    proc.listen(listener, 8000, 77, file=file)
    bound(monkeypatch, free=True)
    seen = look_at_port(proc.root, f"{{host: {wanted}, port: 8000, api_key_env: KEY}}")
    assert [one.id for one in seen.findings] == (["port.in-use"] if taken else [])


def test_an_open_listener_of_ipv6_is_in_the_way_if_the_kernel_says_so(
    proc: Proc, monkeypatch: pytest.MonkeyPatch
) -> None:
    proc.listen(ANY6, 8000, 77, file="tcp6")
    proc.run(41, "/usr/sbin/nginx", name="nginx", socket=77)
    bound(monkeypatch, free=True)
    assert not look_at_port(proc.root).findings
    bound(monkeypatch, free=False)
    [finding] = look_at_port(proc.root).findings
    assert (finding.id, "nginx" in finding.message) == ("port.in-use", True)


def test_our_own_server_is_no_error(proc: Proc) -> None:
    proc.listen(LOOPBACK, 8000, 77)
    proc.run(40, PYTHON, "/venv/bin/neuronctl", "serve", "p.yaml", "--api-key", "hunter2")
    proc.run(41, PYTHON, "-I", "-S", "/x/child_guard.py", "5", parent=40)
    proc.run(42, PYTHON, "/sdk/bin/vllm", "serve", "/models/m", parent=41, socket=77)
    [finding] = (seen := look_at_port(proc.root)).findings
    assert (finding.id, finding.severity) == ("port.own-server", "info")
    assert "kill 40" in str(finding.fix)
    assert "hunter2" not in str(seen)


def test_the_entry_point_of_a_container_is_our_own_server(proc: Proc) -> None:
    proc.listen(LOOPBACK, 8000, 77)
    proc.run(1, PYTHON, "/venv/bin/neuronctl", "serve", "p.yaml", parent=0)
    proc.run(7, PYTHON, "-I", "-S", "/x/child_guard.py", "5", parent=1)
    proc.run(8, PYTHON, "/sdk/bin/vllm", "serve", "/models/m", parent=7, socket=77)
    [finding] = look_at_port(proc.root).findings
    assert finding.id == "port.own-server"
    assert [one.pid for one in ancestors(sample_host(proc.root), 8)] == [7, 1]


def test_neuronctl_itself_may_have_the_port(proc: Proc) -> None:
    proc.listen(LOOPBACK, 8000, 77)
    proc.run(40, PYTHON, "/venv/bin/neuronctl", "serve", "p.yaml", socket=77)
    assert [one.id for one in look_at_port(proc.root).findings] == ["port.own-server"]


def test_a_vllm_that_somebody_else_started_is_an_error(proc: Proc) -> None:
    proc.listen(LOOPBACK, 8000, 77)
    proc.run(42, PYTHON, "/sdk/bin/vllm", "serve", "/models/m", socket=77)
    assert [one.id for one in look_at_port(proc.root).findings] == ["port.in-use"]


def test_an_address_that_is_not_this_machines(proc: Proc, monkeypatch: pytest.MonkeyPatch) -> None:
    proc.listen(LOOPBACK, 8001, 5)
    bound(monkeypatch, free=False)
    [finding] = look_at_port(proc.root, "{host: 192.0.2.1, port: 8000, api_key_env: K}").findings
    assert finding.id == "port.cannot-listen"
    assert "192.0.2.1 is no address of this machine" in finding.message


@pytest.mark.parametrize("uid", [0, 1000])
def test_low_ports_are_roots(proc: Proc, monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    proc.listen(LOOPBACK, 8001, 5)
    first = proc.folder / "sys/net/ipv4/ip_unprivileged_port_start"
    first.parent.mkdir(parents=True)
    first.write_text("1024\n")
    bound(monkeypatch, free=False)
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    [finding] = look_at_port(proc.root, "{host: 127.0.0.1, port: 80}").findings
    assert finding.id == "port.cannot-listen"
    assert ("below 1024" in finding.message) is (uid != 0)


def test_without_proc_the_kernel_still_tells(proc: Proc, monkeypatch: pytest.MonkeyPatch) -> None:
    bound(monkeypatch, free=True)
    assert not look_at_port(proc.root).findings
    bound(monkeypatch, free=False)
    [finding] = look_at_port(proc.root).findings
    assert (finding.id, "nobody tells" in finding.message) == ("port.in-use", True)


def test_without_a_profile_the_default_port_is_only_a_fact(proc: Proc) -> None:
    facts = Facts(sample_host(proc.root))
    with pytest.raises(CannotTell, match="/proc/net/tcp"):
        port.look(facts)
    proc.listen(LOOPBACK, 8001, 5)
    assert port.look(facts).data["free"] is True
    proc.listen(LOOPBACK, 8000, 6)
    seen = port.look(facts)
    assert (seen.findings, seen.data["free"]) == ((), False)


def test_a_profile_that_cannot_be_read_is_no_free_port(proc: Proc) -> None:
    with pytest.raises(CannotTell, match="profile"):
        port.look(Facts(sample_host(proc.root), request=Request("./nowhere.yaml")))


def test_servers_and_where_they_listen(proc: Proc) -> None:
    with pytest.raises(NotHere, match="none runs"):
        servers.look(Facts(sample_host(proc.root)))
    proc.listen(LOOPBACK, 8000, 77)
    proc.listen(ANY, 9000, 78)
    proc.run(40, PYTHON, "-m", "neuronctl", "serve", "p.yaml")
    proc.run(42, PYTHON, "/sdk/bin/vllm", "serve", "/m", "--api-key", "hunter2", parent=40, socket=77)
    proc.run(50, PYTHON, "-X", "dev", "-m", "vllm.entrypoints.openai.api_server", socket=78)
    seen = servers.look(Facts(sample_host(proc.root)))
    told = {one["pid"]: one for one in seen.data["servers"]}  # type: ignore[attr-defined]
    assert {pid: (one["kind"], one["started_by"], one["listens"]) for pid, one in told.items()} == {
        40: ("neuronctl", None, []),
        42: ("vllm", 40, ["127.0.0.1:8000"]),
        50: ("vllm", None, ["0.0.0.0:9000"]),
    }
    assert not seen.findings
    assert "hunter2" not in str(seen)


def test_servers_cannot_be_told_without_proc(tmp_path: Path) -> None:
    with pytest.raises(CannotTell):
        servers.look(Facts(sample_host(tmp_path)))


def test_a_circle_of_parents_ends(proc: Proc) -> None:
    proc.run(40, PYTHON, "x.py", parent=41)
    proc.run(41, PYTHON, "x.py", parent=40)
    found = list(ancestors(sample_host(proc.root), 40))
    assert {one.pid for one in found} == {40, 41}
    assert len(found) < 100


def test_listeners_are_read_as_the_kernel_writes_them(proc: Proc) -> None:
    host = sample_host(proc.root)
    assert read_listeners(host) is None
    proc.listen(LOOPBACK, 65535, 7, uid=12)
    proc.listen(LOOPBACK6, 80, 8, file="tcp6")
    with (proc.folder / "net" / "tcp").open("a") as file:
        file.write("   1: nonsense 0A\n   2: X:Y 0 0A 0 0 0 a b c\n")
    first, second = read_listeners(host) or ()
    assert (first.address, first.port, first.uid, first.inode) == (
        ipaddress.ip_address("127.0.0.1"),
        65535,
        12,
        7,
    )
    assert str(second) == "[::1]:80"


def test_a_socket_that_several_have_is_the_lowest_processs(proc: Proc) -> None:
    proc.run(50, "b", socket=7)
    proc.run(9, "a", socket=7)
    proc.run(10, "c", socket=8)
    host = sample_host(proc.root)
    assert holders(host, {7, 99}) == {7: (9, 50)}
    assert holders(host, set()) == {}
