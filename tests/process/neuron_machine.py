"""A Neuron instance made of files: a root folder, neuron-ls, the stand-in SDK, and a terminal on it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuronctl.machine.catalog import find_instance
from tests.process.terminal import HERE, Running, Said, Terminal

GIB = 2**30
ENGINE = "engine: {tensor_parallel_size: 2, max_model_len: 128, max_num_seqs: 4}"


def make_root(
    root: Path,
    instance_name: str = "inf2.xlarge",
    *,
    devices: bool = True,
    runtime: str | None = "2.30.51.0",
) -> Path:
    """What Linux and the driver show of an instance; `devices=False` is a machine of another kind.

    `runtime` is the version of libnrt.so, None where it is not installed.
    """
    instance = find_instance(instance_name)

    memory_kb = (instance.host_memory_bytes or 16 * GIB) // 1024
    write(
        root,
        "/proc/meminfo",
        f"MemTotal:       {memory_kb} kB\nMemAvailable:   {memory_kb * 9 // 10} kB\n"
        "SwapTotal:             0 kB\nHugePages_Total:       0\nHugepagesize:       2048 kB\n",
    )
    write(root, "/proc/self/mounts", "/dev/root / ext4 rw,relatime 0 0\n")
    write(
        root,
        "/proc/net/tcp",
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n",
    )
    (root / "sys" / "class").mkdir(parents=True)
    if not devices:
        return root
    write(root, "/sys/devices/virtual/dmi/id/product_name", f"{instance_name}\n")
    write(root, "/sys/devices/virtual/dmi/id/sys_vendor", "Amazon EC2\n")
    write(root, "/sys/module/neuron/version", "2.26.10.0\n")
    for index in range(instance.devices):
        write(root, f"/dev/neuron{index}")
        for counter in ("mem_ecc_uncorrected", "sram_ecc_uncorrected"):
            write(
                root,
                f"/sys/devices/virtual/neuron_device/neuron{index}/stats/hardware/{counter}/total",
                "0\n",
            )
    write(root, "/opt/aws/neuron/lib/libnccom.so.2.28.0")
    if runtime is not None:
        write(root, f"/opt/aws/neuron/lib/libnrt.so.{runtime}")
    cores = instance.logical_cores[instance.lnc_default] // instance.devices
    listing = [
        {
            "neuron_device": index,
            "bdf": f"00:{index:02x}.0",
            "connected_to": None,
            "nc_count": cores,
            "logical_neuroncore_config": instance.lnc_default,
            "memory_size": instance.device_memory_bytes // instance.devices,
            "neuroncore_ids": list(range(index * cores, (index + 1) * cores)),
            "neuron_processes": [],
        }
        for index in range(instance.devices)
    ]
    write(root, "/listing.json", json.dumps(listing))
    write(root, "/bin/neuron-ls", f"#!/bin/sh\ncat {root}/listing.json\n")
    (root / "bin" / "neuron-ls").chmod(0o755)
    return root


def write(root: Path, path: str, text: str = "") -> None:
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def add_program(root: Path, name: str, script: str) -> None:
    write(root, f"/bin/{name}", f"#!/bin/sh\n{script}\n")
    (root / "bin" / name).chmod(0o755)


def add_modinfo(root: Path, version: str) -> None:
    add_program(root, "modinfo", f"echo {version}")


def change_listing(root: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    file = root / "listing.json"
    listing = json.loads(file.read_text())
    change(listing)
    file.write_text(json.dumps(listing))


@dataclass
class NeuronTerminal(Terminal):
    """A user's terminal on an instance, with the stand-in SDK as the serving Python."""

    root: Path = Path("/")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.program = (str(HERE / "elsewhere.py"),)
        self.tmp = self.folder / "tmp"
        self.tmp.mkdir()
        self.env |= {
            "TEST_ROOT": str(self.root),
            "PATH": f"{self.root / 'bin'}{os.pathsep}{self.env['PATH']}",
            "STAND_IN_TMP": str(self.tmp),
            "STAND_IN_DEV": str(self.root / "dev"),
        }

    def profile(self, text: str = "", name: str = "p.yaml") -> Path:
        """A small Llama on two cores, and `text`."""
        path = self.cwd / name
        path.write_text(
            f"model: {{id: {self.model}}}\nbackend: nxdi\n"
            + (text if "engine:" in text else f"{ENGINE}\n{text}")
            + ("" if "server:" in text else f"\nserver: {{port: {self.port}}}")
            + "\n"
        )
        return path

    def run_sdk(self, sdk: str, *words: str, env: Mapping[str, str] | None = None) -> Said:
        """Run neuronctl with a stand-in SDK that behaves as `sdk` says (STAND_IN_SDK)."""
        return self.start_sdk(sdk, *words, env=env).end()

    def start_sdk(self, sdk: str, *words: str, env: Mapping[str, str] | None = None) -> Running:
        return self.start(*words, env={"STAND_IN_SDK": sdk, **(env or {})})

    def served(self) -> str:
        """What the last server says that it serves."""
        logs = sorted(self.logs(), key=lambda log: log.stat().st_mtime_ns)
        lines = [line for log in logs for line in log.read_text().splitlines() if "stand-in: " in line]
        return lines[-1].partition("stand-in: ")[2]


# Makes a terminal on an instance on which everything is well: the fixture `machine`.
Machine = Callable[..., NeuronTerminal]
