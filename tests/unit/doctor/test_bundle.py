"""The bundle: what is in it, and above all what is not."""

from __future__ import annotations

import errno
import json
import os
import stat
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neuronctl.doctor import archive
from neuronctl.doctor.archive import check_archive, write_archive
from neuronctl.doctor.bundle import LOGS, REPORTS, TAIL_BYTES, gather_bundle
from neuronctl.errors import MachineUnfit, UsageError
from neuronctl.host import Host
from neuronctl.short_command import Finished
from neuronctl.stack.detect import Stack
from tests.plan_sample import sample_stack

DIAGNOSIS = {"verdict": "this machine can serve", "checks": [{"name": "driver", "status": "ok"}]}


@dataclass(frozen=True)
class World(Host):
    """A Host whose commands answer what was arranged."""

    commands: dict[str, Finished] = field(default_factory=dict)

    def run(self, argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None) -> Finished:
        assert timeout_s <= 10
        return self.commands.get(
            Path(argv[0]).name, Finished(1, "", "", "ended with 1, saying: not permitted")
        )

    def now(self) -> float:
        return 1_800_000_000.0

    def write(self, path: str, text: str | bytes) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return file


def world(tmp_path: Path, environ: Mapping[str, str] | None = None, **commands: Finished) -> World:
    base = {
        "HOME": str(tmp_path / "home"),
        "NEURONCTL_HOME": str(tmp_path / "nh"),
        "PATH": str(tmp_path / "bin"),
    }
    return World(environ={**base, **(environ or {})}, cwd=tmp_path, root=tmp_path, commands=commands)


def unpack(path: Path) -> dict[str, bytes]:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as packed:
            return {name: packed.read(name) for name in packed.namelist()}
    with tarfile.open(path) as tar:
        found = {}
        for member in tar.getmembers():
            file = tar.extractfile(member)
            assert file is not None
            assert (member.mode, member.uid, member.uname) == (0o600, 0, "")
            found[member.name] = file.read()
        return found


def write_bundle(
    path: Path, diagnosis: Mapping[str, Any], host: World, *, stack: Stack | None = None
) -> tuple[str, ...]:
    """As the command does it."""
    path = host.cwd / path
    check_archive(path)
    members = gather_bundle(diagnosis, host, stack=stack)
    write_archive(path, members, now=host.now())
    return tuple(members)


def bundle(host: World, name: str = "b.tar.gz", diagnosis: Mapping[str, Any] = DIAGNOSIS) -> dict[str, str]:
    names = write_bundle(Path(name), diagnosis, host, stack=sample_stack(paths=(host.root / "site",)))
    members = unpack(host.root / name)
    assert tuple(members) == names
    return {member: content.decode("utf-8", "replace") for member, content in members.items()}


@pytest.mark.parametrize("name", ["b.tar.gz", "b.tgz", "b.zip", "B.ZIP"])
def test_every_kind_of_archive_is_readable_by_its_owner_only(tmp_path: Path, name: str) -> None:
    write_bundle(Path(name), DIAGNOSIS, world(tmp_path), stack=sample_stack())
    file = tmp_path / name
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    if name != "B.ZIP":
        assert json.loads(unpack(file)["doctor.json"]) == DIAGNOSIS
    assert sorted(tmp_path.iterdir()) == [file]


def test_the_same_world_gives_the_same_bytes(tmp_path: Path) -> None:
    host = world(tmp_path)
    host.write("nh/logs/a.log", "hello")
    bundle(host, "one.tar.gz")
    bundle(host, "two.tar.gz")
    assert (tmp_path / "one.tar.gz").read_bytes() == (tmp_path / "two.tar.gz").read_bytes()


def test_what_is_in_it(tmp_path: Path) -> None:
    host = world(
        tmp_path,
        {
            "NEURON_RT_VISIBLE_CORES": "0-3",
            "EDITOR": "vi-of-mine",
            "https_proxy": "http://me:pass12@proxy:80",
        },
        dmesg=Finished(0, "usb: hello\n[1.0] Neuron Driver Started with Version:2.26\n", ""),
    )
    host.write("proc/meminfo", "MemTotal: 16 kB\n")
    host.write("proc/self/mounts", "/dev/root / ext4 rw 0 0\n")
    host.write("site/vllm_neuron-0.5.0.dist-info/METADATA", "")
    host.write("nh/logs/20260101-serve-small.log", "a line of the server\n")
    host.write("nh/reports/neuronctl-1.txt", "a traceback\n")
    host.write("nh/store/v1/artifacts/abc123/manifest.json", '{"key": "abc123", "backend": "nxdi"}')
    host.write("nh/store/v1/quarantine/abc123.2026/reason.json", '{"reason": "failed to load"}')
    told = bundle(host)
    assert list(told)[:4] == ["contents.txt", "doctor.json", "environment.txt", "versions.txt"]
    lines = told["environment.txt"].splitlines()
    assert "NEURON_RT_VISIBLE_CORES=0-3" in lines
    assert "EDITOR is set" in lines
    assert "https_proxy=http://(hidden)@proxy:80" in lines
    assert "vi-of-mine" not in "".join(told.values())
    assert "vllm-neuron 0.5.0" in told["versions.txt"]
    assert told["system/meminfo.txt"] == "MemTotal: 16 kB\n"
    assert "ext4" in told["system/mounts.txt"]
    assert told["system/dmesg.txt"] == "[1.0] Neuron Driver Started with Version:2.26\n"
    assert told["logs/20260101-serve-small.log"] == "a line of the server\n"
    assert told["reports/neuronctl-1.txt"] == "a traceback\n"
    assert json.loads(told["manifests/abc123.json"]) == {"key": "abc123", "backend": "nxdi"}
    assert json.loads(told["quarantine/abc123.2026.json"]) == {"reason": "failed to load"}
    assert "logs/20260101-serve-small.log" in told["contents.txt"]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    told = bundle(world(tmp_path))["contents.txt"]
    assert "/proc/meminfo: cannot be read" in told
    assert "dmesg ended with 1, saying: not permitted" in told
    assert "dmesg_restrict" in told


def test_what_hangs_is_named(tmp_path: Path) -> None:
    host = world(tmp_path)
    host.write("etc/os-release", "").unlink()
    os.mkfifo(tmp_path / "etc/os-release")
    assert "/etc/os-release did not answer in 2 s" in bundle(host)["contents.txt"]


def test_neuron_ls_without_the_arguments_of_others(tmp_path: Path) -> None:
    listing = [
        {"neuron_device": 0, "neuron_processes": [{"pid": 7, "command": "/opt/x/python --their thing"}]}
    ]
    host = world(tmp_path, **{"neuron-ls": Finished(0, json.dumps(listing), "")})
    assert "system/neuron-ls.json" not in bundle(host, "without-a-device.zip")
    host.write("dev/neuron0", "")
    assert "neuron-ls: not found" in bundle(host, "without-the-tool.zip")["contents.txt"]
    host.write("bin/neuron-ls", "").chmod(0o755)
    told = bundle(host)["system/neuron-ls.json"]
    assert '"command": "python"' in told
    assert "their thing" not in told


def test_a_neuron_ls_that_prints_garbage_is_shown_as_it_is(tmp_path: Path) -> None:
    host = world(tmp_path, **{"neuron-ls": Finished(None, "gar{bage", "", "did not answer in 10 s")})
    host.write("dev/neuron0", "")
    host.write("bin/neuron-ls", "").chmod(0o755)
    told = bundle(host)
    assert told["system/neuron-ls.txt"] == "gar{bage"
    assert "neuron-ls did not answer in 10 s" in told["contents.txt"]


SECRET = "Zw0rdfish-Planted"
TOKENS = {
    "variable": SECRET + "-in-a-variable",
    "hub file": "plainlookinghubtokenoffile",
    "hub stored": "plainlookingstoredtoken",
    "aws file": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "by look": "hf_QwErTyUiOpAsDfGhJkLzXcVbNm12345678",
    "by name": "opensesame",
    "password": "p4ssw0rdOfProxy",
    "key": "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC",
    "signature": "fe5f80f77d5fa3beca038a248ff027d0445342fe2855ddc963176630326f1024",
}


def test_no_planted_secret_is_in_any_byte(tmp_path: Path) -> None:
    text = "\n".join(
        [
            f"The token {TOKENS['variable']} was used",
            f"a {TOKENS['hub file']} and {TOKENS['hub stored']} and {TOKENS['aws file']}",
            f"found {TOKENS['by look']} here",
            f"args: Namespace(api_key=['{TOKENS['by name']}'], model='org/small')",
            f"curl -H 'Authorization: Bearer {TOKENS['by name']}' --api-key {TOKENS['by name']}",
            f"GET https://me:{TOKENS['password']}@proxy:8080/ 200",
            f"-----BEGIN PRIVATE KEY-----\n{TOKENS['key']}\n-----END PRIVATE KEY-----",
            f"https://bucket/x?X-Amz-Signature={TOKENS['signature']}&X-Amz-Date=1",
            "ordinary text that survives",
        ]
    )
    host = world(
        tmp_path,
        {
            "HF_TOKEN": TOKENS["variable"],
            "VLLM_API_KEY": TOKENS["by name"],
            "NEURON_NOTE": text,
            "EDITOR": text,
            "HTTPS_PROXY": f"http://me:{TOKENS['password']}@proxy:1",
        },
        dmesg=Finished(0, text.replace("\n", " neuron\n"), ""),
        **{"neuron-ls": Finished(0, json.dumps([{"neuron_device": 0, "note": text}]), "")},
    )
    host.write("home/.cache/huggingface/token", TOKENS["hub file"] + "\n")
    host.write("home/.cache/huggingface/stored_tokens", f"[mine]\nhf_token = {TOKENS['hub stored']}\n")
    host.write("home/.aws/credentials", f"[default]\naws_secret_access_key = {TOKENS['aws file']}\n")
    host.write("dev/neuron0", "")
    host.write("bin/neuron-ls", "").chmod(0o755)
    host.write("proc/meminfo", text)
    host.write("proc/self/mounts", text)
    host.write("site/pip-1.dist-info/METADATA", text)
    host.write(f"nh/logs/{TOKENS['by look']}.log", text + "\n" + json.dumps({"nested": text}))
    host.write("nh/reports/neuronctl-1.txt", text + repr(text))
    host.write(
        "nh/store/v1/artifacts/k/manifest.json",
        json.dumps({"inputs": {"api_key": TOKENS["by name"], "env": {"NOTE": text}}, "profile": "survives"}),
    )
    host.write("nh/store/v1/artifacts/broken/manifest.json", "{ " + text)
    host.write("nh/store/v1/quarantine/k.1/reason.json", json.dumps({"reason": text}))
    diagnosis = {
        "findings": [{"message": text, "key": "a.b"}],
        "data": {"token": TOKENS["by name"], "t": text},
    }
    for name in ("b.tar.gz", "b.zip"):
        told = bundle(host, name, diagnosis)
        for kind, secret in TOKENS.items():
            for member, content in told.items():
                assert secret not in content, (kind, member)
                assert secret not in member, (kind, member)
        holders = [member for member, content in told.items() if "ordinary text that survives" in content]
        assert len(holders) >= 9, holders
        assert "org/small" in told["reports/neuronctl-1.txt"]
        assert json.loads(told["manifests/k.json"])["profile"] == "survives"
        json.loads(told["doctor.json"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=6, max_size=30))
def test_the_value_of_a_secret_variable_is_nowhere(tmp_path: Path, secret: str) -> None:
    host = world(tmp_path, {"MY_SECRET": secret, "NEURON_NOTE": f"x{secret}y", "NOTE": secret})
    host.write("nh/logs/a.log", f"before {secret}{secret} after {json.dumps(secret)}")
    host.write(
        "nh/store/v1/artifacts/k/manifest.json", json.dumps({"profile": f"p{secret}", secret: [secret]})
    )
    (tmp_path / "h.zip").unlink(missing_ok=True)
    write_bundle(Path("h.zip"), {"data": [secret, {"a": secret}]}, host, stack=sample_stack(paths=()))
    for name, content in unpack(tmp_path / "h.zip").items():
        assert secret.encode() not in content, name


def test_logs_are_the_newest_and_the_end_of_long_ones(tmp_path: Path) -> None:
    host = world(tmp_path)
    for number in range(LOGS + 5):
        os.utime(host.write(f"nh/logs/{number:02}.log", f"log {number}"), (number, number))
    for number in range(REPORTS + 2):
        os.utime(host.write(f"nh/reports/{number}.txt", "r"), (number, number))
    long = host.write("nh/logs/long.log", "first line\n" + "another line\n" * 40_000 + "last line\n")
    told = bundle(host)
    logs = [name for name in told if name.startswith("logs/")]
    assert len(logs) == LOGS
    assert logs[0] == "logs/long.log"
    assert "logs/05.log" not in logs
    assert len([name for name in told if name.startswith("reports/")]) == REPORTS
    shown = told["logs/long.log"]
    head, _, rest = shown.partition("\n")
    cut = int(head.split()[3])
    assert head == f"[neuronctl: the first {cut} bytes are left out]"
    assert cut + len(rest) == long.stat().st_size
    assert len(rest) <= TAIL_BYTES
    assert rest.startswith("another line\n")
    assert rest.endswith("last line\n")
    assert f"the newest {LOGS} of {LOGS + 6}" in told["contents.txt"]


@pytest.mark.parametrize("parting", ["", "x"])
def test_half_a_secret_at_the_cut_is_not_shown(tmp_path: Path, parting: str) -> None:
    host = world(tmp_path, {"MY_SECRET": SECRET * 4})
    host.write("nh/logs/a.log", "x" * 50 + parting + SECRET * 4 + "y" * (TAIL_BYTES - 30))
    assert SECRET[-8:] not in "".join(bundle(host).values())


def test_links_pipes_and_forbidden_files_are_named_and_not_read(tmp_path: Path) -> None:
    host = world(tmp_path)
    outside = host.write("outside.txt", "not yours")
    host.write("nh/logs/fine.log", "fine")
    (tmp_path / "nh/logs/link.log").symlink_to(outside)
    os.mkfifo(tmp_path / "nh/logs/pipe.log")
    (tmp_path / "nh/store/v1/artifacts").mkdir(parents=True)
    (tmp_path / "nh/store/v1/artifacts/linked").symlink_to(tmp_path)
    (tmp_path / "nh/store/v1/artifacts/empty").mkdir()
    (tmp_path / "nh/reports").write_text("a file where a folder should be")
    told = bundle(host)
    assert [name for name in told if name.startswith(("logs/", "manifests/"))] == ["logs/fine.log"]
    assert "not yours" not in "".join(told.values())
    contents = told["contents.txt"]
    assert "link.log: is a symbolic link" in contents
    assert "pipe.log: is no ordinary file" in contents
    assert "empty/manifest.json: is not there" in contents
    assert "nh/reports: Not a directory" in contents


def test_a_log_that_is_taken_away_from_us_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = world(tmp_path)
    host.write("nh/logs/a.log", "x")
    real = os.open

    def refuse(path: Any, *args: Any, **kwargs: Any) -> int:
        if str(path).endswith("a.log"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    assert "a.log: Permission denied" in bundle(host)["contents.txt"]


def test_a_huge_folder_is_not_looked_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neuronctl.doctor.bundle._MOST_ENTRIES", 5)
    host = world(tmp_path)
    for number in range(9):
        host.write(f"nh/logs/{number}.log", "x")
    told = bundle(host)
    assert len([name for name in told if name.startswith("logs/")]) == 5
    assert "has more than 5 entries" in told["contents.txt"]


def test_bytes_that_are_no_text_stay_as_they_were(tmp_path: Path) -> None:
    host = world(tmp_path)
    host.write("nh/logs/a.log", b"a \xff\xfe b")
    write_bundle(Path("b.zip"), DIAGNOSIS, host, stack=sample_stack())
    assert unpack(tmp_path / "b.zip")["logs/a.log"] == b"a \xff\xfe b"


@pytest.mark.parametrize("name", ["bundle", "b.tar", "b.gz", "b.tar.xz", "b.txt"])
def test_a_name_that_names_no_archive(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no kind of archive") as refused:
        write_bundle(Path(name), DIAGNOSIS, world(tmp_path))
    assert f"{name}.tar.gz" in (refused.value.fix or "")


@pytest.mark.parametrize("make", ["file", "folder", "link"])
def test_nothing_is_written_over(tmp_path: Path, make: str) -> None:
    path = tmp_path / "b.zip"
    if make == "file":
        path.write_text("mine")
    elif make == "folder":
        path.mkdir()
    else:
        path.symlink_to("nowhere")
    with pytest.raises(UsageError, match="is a folder" if make == "folder" else "exists already"):
        write_bundle(path, DIAGNOSIS, world(tmp_path))
    assert make != "file" or path.read_text() == "mine"


def test_a_file_that_comes_to_be_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "b.zip"
    real = archive._write_zip

    def late(*args: Any) -> None:
        real(*args)
        path.write_text("theirs")

    monkeypatch.setattr(archive, "_write_zip", late)
    with pytest.raises(UsageError, match="exists already"):
        write_bundle(path, DIAGNOSIS, world(tmp_path), stack=sample_stack())
    assert path.read_text() == "theirs"
    assert sorted(tmp_path.iterdir()) == [path]


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert "doctor.json" in bundle(world(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["b.tar.gz"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        write_bundle(Path("no where/b.zip"), DIAGNOSIS, world(tmp_path))
    assert refused.value.fix == f"mkdir -p '{tmp_path}/no where'"


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "no space is left"), (errno.EROFS, "read-only"), (errno.EIO, "Input/output error")],
)
def test_a_disk_that_refuses_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def refuse(fd: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(MachineUnfit, match=words) as refused:
        write_bundle(Path("b.tar.gz"), DIAGNOSIS, world(tmp_path), stack=sample_stack())
    assert refused.value.fix
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(fd: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bundle(Path("b.zip"), DIAGNOSIS, world(tmp_path), stack=sample_stack())
    assert list(tmp_path.iterdir()) == []
