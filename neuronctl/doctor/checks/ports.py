"""Checks of ports: whether the server can listen where it should, and which servers run already."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable
from contextlib import suppress

from neuronctl.doctor.check import CannotTell, NotHere, Seen, Trouble, check
from neuronctl.doctor.facts import Facts
from neuronctl.errors import Exit, NeuronctlError
from neuronctl.host import Host
from neuronctl.machine.ancestors import ancestors
from neuronctl.machine.holder import as_holder, how_to_end
from neuronctl.machine.listeners import Address, Listener, holders, read_listeners
from neuronctl.machine.process import Process, read_process, user_name
from neuronctl.machine.reading import NoAnswer, list_folder, read_number
from neuronctl.machine.server_process import ServerProcess, find_servers
from neuronctl.profile.schema import ServerSection
from neuronctl.result import Finding

# What a check may take that looks through all processes, and through their open files.
_PROCESSES_S = 15.0
_DEFAULT = ServerSection()
_HIGHEST_PORT = 65535
_NAMES = {"vllm": "vLLM"}

IN_USE = Trouble(
    "port.in-use",
    "error",
    "Another program listens on the port of the profile: `neuronctl serve` refuses to start.",
    "Linux, bind(2): EADDRINUSE; neuronctl/launching.py (check_address)",
)
OURS = Trouble(
    "port.own-server",
    "info",
    "A server that neuronctl started listens on the port of the profile already.",
    "Linux, bind(2): EADDRINUSE",
)
CANNOT_LISTEN = Trouble(
    "port.cannot-listen",
    "error",
    "Nobody listens on the profile's port, and yet no server can: the address is not this machine's, or only "
    "root may have the port.",
    "Linux, bind(2): EACCES, EADDRNOTAVAIL; Documentation/networking/ip-sysctl.rst "
    "(ip_unprivileged_port_start)",
)


@check(
    "port",
    "Whether the server's port is free",
    finds=(IN_USE, OURS, CANNOT_LISTEN),
    exit_code=Exit.SERVER_NOT_READY,
    timeout_s=_PROCESSES_S,
)
def port(facts: Facts) -> Seen:
    """The address and port of the profile: whether a server could listen there now, and who does otherwise.

    Who listens is told by /proc/net/tcp and tcp6; the process behind a socket of another user is shown to
    root only, and not at all if it is in another container. Without a profile neuronctl's default port is
    looked at, and what is found is only a fact.
    """
    server = _server_section(facts)
    listeners = read_listeners(facts.host)
    if server is None:
        return _default_port(facts.host, listeners)
    where = f"{server.host}:{server.port}"
    found = _in_the_way(server.host, server.port, listeners or ())
    is_free = found is None and facts.host.port_is_free(server.host, server.port)
    data: dict[str, object] = {"host": server.host, "port": server.port, "free": is_free}
    if is_free:
        return Seen(f"{where} is free", data=data)
    if found is None:
        # An open [::] takes the port of IPv4 as well, unless its program says otherwise.
        found = next((one for one in listeners or () if one.port == server.port), None)
    if found is None and listeners is not None:
        return Seen(f"{where} cannot be had", (_cannot_listen(server, facts.host),), data=data)
    if found is None:
        message = f"port {server.port} of {server.host} is in use; by whom, nobody tells (no /proc/net/tcp)"
        return Seen(message, (IN_USE(message, fix=_other_port(server.port, ())),), data=data)
    process = _process(facts.host, found)
    said = f"{found}: {_who(found, process)}"
    data["listener"] = _as_data(found, process)
    own = _own_server(facts.host, process)
    if own is not None:
        finding = OURS(
            f"a server that neuronctl {own} started listens on {said}",
            fix=f"to serve anew end it first: kill {own.pid}",
        )
    else:
        end = "end what listens there"
        if process is not None:
            end = f"end it ({how_to_end([as_holder(facts.host, process)])})"
        finding = IN_USE(
            f"port {server.port} of {server.host} is in use, {said}",
            fix=f"{end}, or {_other_port(server.port, listeners or ())}",
        )
    return Seen(f"{where} is in use, {said}", (finding,), data=data)


@check("servers", "The neuronctl and vLLM servers that run here now", timeout_s=_PROCESSES_S)
def servers(facts: Facts) -> Seen:
    """Processes that are `neuronctl serve`, `vllm serve` or vLLM's API server, and where they listen.

    They are known by the names of their programs in /proc. In a container only its own are seen. It finds
    nothing: whether cores or the port are in use is told by other checks.
    """
    host = facts.host
    if not list_folder(host, "/proc"):
        raise CannotTell("/proc cannot be listed")
    running = find_servers(host)
    if not running:
        raise NotHere("none runs")
    listeners = read_listeners(host) or ()
    held = holders(host, {one.inode for one in listeners})
    at = {
        server.process.pid: [one for one in listeners if server.process.pid in held.get(one.inode, ())]
        for server in running
    }
    starters = [_starter(host, one.process.pid, running) for one in running]
    said = ", ".join(
        _with_place(one, at[one.process.pid], starter)
        for one, starter in zip(running[:4], starters, strict=False)
    )
    more = f" and {len(running) - 4} more" if len(running) > 4 else ""
    data: dict[str, object] = {
        "servers": [
            {
                "kind": one.kind,
                "pid": one.process.pid,
                "name": one.process.name,
                "owner": one.process.owner,
                "started_by": starter.pid if starter else None,
                "listens": [str(listener) for listener in at[one.process.pid]],
            }
            for one, starter in zip(running, starters, strict=True)
        ]
    }
    return Seen(said + more, data=data)


def _server_section(facts: Facts) -> ServerSection | None:
    try:
        profile = facts.profile()
    except NeuronctlError:
        raise CannotTell("the profile cannot be read") from None
    return None if profile is None else profile.shape.server


def _default_port(host: Host, listeners: tuple[Listener, ...] | None) -> Seen:
    if listeners is None:
        raise CannotTell("neither /proc/net/tcp nor /proc/net/tcp6 can be read")
    data: dict[str, object] = {"host": _DEFAULT.host, "port": _DEFAULT.port}
    found = _in_the_way(_DEFAULT.host, _DEFAULT.port, listeners)
    if found is None:
        return Seen(f"{_DEFAULT.port}, the default, is free", data={**data, "free": True})
    process = _process(host, found)
    data |= {"free": False, "listener": _as_data(found, process)}
    return Seen(f"{_DEFAULT.port}, the default, is in use, {found}: {_who(found, process)}", data=data)


def _in_the_way(address: str, port: int, listeners: tuple[Listener, ...]) -> Listener | None:
    """The listener because of which nobody else can listen there; None where it is not certain."""
    wanted = _as_address(address)
    if wanted is None:
        return None
    for one in listeners:
        if one.port != port or one.address.version != wanted.version:
            continue
        if one.address == wanted or one.address.is_unspecified or wanted.is_unspecified:
            return one
    return None


def _as_address(text: str) -> Address | None:
    """None for a name that would have to be looked up."""
    try:
        return ipaddress.ip_address("127.0.0.1" if text == "localhost" else text.strip("[]"))
    except ValueError:
        return None


def _process(host: Host, listener: Listener) -> Process | None:
    """Whose the socket is; None where nobody tells, or a process that is looked at hangs."""
    with suppress(NoAnswer):
        pids = holders(host, {listener.inode}).get(listener.inode, ())
        return next((process for pid in pids if (process := read_process(host, pid))), None)
    return None


def _own_server(host: Host, process: Process | None) -> Process | None:
    """The neuronctl that started what has the port, None where none did."""
    if process is None:
        return None
    try:
        running = find_servers(host)
    except NoAnswer:  # one of them hangs; whose the port is, is told all the same
        return None
    if any(one.process.pid == process.pid and one.kind == "neuronctl" for one in running):
        return process
    return _starter(host, process.pid, running)


def _starter(host: Host, pid: int, running: Iterable[ServerProcess]) -> Process | None:
    """The `neuronctl serve` that a process comes from."""
    serving = {one.process.pid: one.process for one in running if one.kind == "neuronctl"}
    return next((serving[one.pid] for one in ancestors(host, pid) if one.pid in serving), None)


def _who(listener: Listener, process: Process | None) -> str:
    if process is not None:
        return f"process {process}"
    return f"a process of {user_name(listener.uid)} that this user may not look at, or of another container"


def _as_data(listener: Listener, process: Process | None) -> dict[str, object]:
    data: dict[str, object] = {"address": str(listener.address), "port": listener.port, "uid": listener.uid}
    if process is not None:
        data |= {"pid": process.pid, "name": process.name, "owner": process.owner}
    return data


def _cannot_listen(server: ServerSection, host: Host) -> Finding:
    first = read_number(host, "/proc/sys/net/ipv4/ip_unprivileged_port_start")
    if first is not None and server.port < first and os.geteuid() != 0:
        return CANNOT_LISTEN(
            f"port {server.port} is below {first}, and such ports are root's on this machine",
            fix=f"{_other_port(8000, ())}, behind a proxy that has port {server.port}",
        )
    if server.host in ("127.0.0.1", "::1", "0.0.0.0", "::", "localhost"):
        return CANNOT_LISTEN(
            f"nobody listens on {server.host}:{server.port}, and yet some process has taken it",
            fix=f"{_other_port(server.port, ())}; or see who has it: ss -tanp | grep {server.port}",
        )
    return CANNOT_LISTEN(
        f"nobody listens on port {server.port}, and yet a server cannot: {server.host} is no address of this "
        "machine",
        fix="set server.host to 127.0.0.1, or to an address that `ip address` shows",
    )


def _other_port(port: int, listeners: tuple[Listener, ...]) -> str:
    taken = {one.port for one in listeners} | {port}
    free = next((one for one in range(port + 1, _HIGHEST_PORT + 1) if one not in taken), _DEFAULT.port)
    return f"choose another port: --set server.port={free}"


def _with_place(server: ServerProcess, at: list[Listener], starter: Process | None) -> str:
    place = f" on {', '.join(map(str, at))}" if at else ""
    started = f", started by neuronctl {starter.pid}" if starter else ""
    return f"{_NAMES.get(server.kind, server.kind)} {server.process}{place}{started}"


CHECKS = (port, servers)
