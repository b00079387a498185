"""Detection on made-up Neuron machines: a folder stands for `/`, neuron-ls and the network are arranged."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from neuronctl.errors import UsageError
from neuronctl.host import Host, Response
from neuronctl.machine.catalog import instance_types
from neuronctl.machine.cores import CoreSet
from neuronctl.machine.detect import Machine, detect_machine
from neuronctl.short_command import Finished

SAMPLES = Path(__file__).parents[2] / "data" / "neuron_ls"
GIB = 2**30
NO_ANSWER = Response(0, "timed out")


@dataclass(frozen=True)
class World(Host):
    """A Host whose processes and network answer what was arranged, and that notes what was asked."""

    processes: dict[str, Finished] = field(default_factory=dict)
    network: dict[str, Response] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def run(self, argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None) -> Finished:
        assert timeout_s <= 10
        self.asked.append(" ".join([Path(argv[0]).name, *argv[1:]]))
        return self.processes[Path(argv[0]).name]

    def http(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 5.0,
    ) -> Response:
        assert timeout_s <= 0.5
        self.asked.append(f"{method} {url}")
        if method == "GET":
            assert headers == {"X-aws-ec2-metadata-token": "a-token=="}
        return self.network.get(method, NO_ANSWER)

    def write(self, path: str, text: str = "") -> None:
        file = self.path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def has_devices(self, count: int) -> None:
        for index in range(count):
            self.write(f"/dev/neuron{index}")

    def is_called(self, product: str, vendor: str = "Amazon EC2") -> None:
        self.write("/sys/devices/virtual/dmi/id/product_name", f"{product}\n")
        self.write("/sys/devices/virtual/dmi/id/sys_vendor", f"{vendor}\n")

    def installs(self, name: str, answer: Finished, folder: str = "/bin") -> None:
        self.write(f"{folder}/{name}")
        self.path(f"{folder}/{name}").chmod(0o755)
        self.processes[name] = answer

    def answers_neuron_ls(self, text: str, folder: str = "/bin") -> None:
        self.installs("neuron-ls", Finished(0, text, ""), folder)

    def answers_metadata(self, name: str) -> None:
        self.network["PUT"] = Response(200, "a-token==")
        self.network["GET"] = Response(200, name)

    def set_variable(self, name: str, value: str) -> World:
        return replace(self, environ={**self.environ, name: value})


@pytest.fixture
def world(tmp_path: Path) -> World:
    environ = {"HOME": str(tmp_path / "home"), "PATH": str(tmp_path / "bin")}
    return World(environ=environ, cwd=tmp_path, root=tmp_path)


def sample(name: str) -> str:
    return (SAMPLES / f"{name}.json").read_text(encoding="utf-8")


def listed(count: int, cores: int, memory_gib: int, lnc: int | None = None) -> str:
    """An idle machine's answer of neuron-ls."""
    setting = {} if lnc is None else {"logical_neuroncore_config": lnc}
    return json.dumps(
        [
            {
                "neuron_device": index,
                "bdf": f"0000:{index:02x}:1e.0",
                "connected_to": None,
                "nc_count": cores,
                **setting,
                "memory_size": memory_gib * GIB,
                "neuroncore_ids": list(range(index * cores, (index + 1) * cores)),
                "neuron_processes": [],
            }
            for index in range(count)
        ]
    )


@pytest.mark.parametrize(
    ("name", "answer", "devices", "cores", "lnc", "lnc_source"),
    [
        ("inf2.xlarge", listed(1, 2, 32), 1, 2, 1, "default"),
        ("inf2.48xlarge", listed(12, 2, 32), 12, 24, 1, "default"),
        ("trn1.2xlarge", sample("trn1.2xlarge-idle"), 1, 2, 1, "default"),
        ("trn1.32xlarge", listed(16, 2, 32), 16, 32, 1, "default"),
        ("trn1n.32xlarge", listed(16, 2, 32), 16, 32, 1, "default"),
        ("trn2.3xlarge", listed(1, 4, 96, lnc=2), 1, 4, 2, "neuron-ls"),
        ("trn2.48xlarge", listed(16, 8, 96, lnc=1), 16, 128, 1, "neuron-ls"),
        ("trn2n.48xlarge", sample("trn2n.48xlarge-reconstructed"), 16, 64, 2, "neuron-ls"),
    ],
)
def test_every_family(
    world: World,
    name: str,
    answer: str,
    devices: int,
    cores: int,
    lnc: int,
    lnc_source: str,
) -> None:
    world.is_called(name)
    world.has_devices(devices)
    world.answers_neuron_ls(answer)
    machine = detect_machine(world)
    assert machine.instance is not None
    assert (machine.instance.name, machine.instance_name, machine.instance_source) == (name, name, "DMI")
    assert len(machine.devices) == devices
    assert machine.core_ids == CoreSet(tuple(range(cores)))
    assert (machine.lnc, machine.lnc_source) == (lnc, lnc_source)
    assert not machine.assumed
    assert world.asked == ["neuron-ls --json-output"]


@pytest.mark.parametrize(("cores", "lnc"), [(4, 2), (8, 1)])
def test_a_tool_that_counts_logical_cores_and_does_not_name_the_lnc(
    world: World, cores: int, lnc: int
) -> None:
    world.is_called("trn2.3xlarge")
    world.has_devices(1)
    world.answers_neuron_ls(listed(1, cores, 96))
    machine = detect_machine(world)
    assert (machine.lnc, machine.lnc_source, len(machine.core_ids)) == (lnc, "neuron-ls", cores)


def test_a_type_that_the_catalog_does_not_know(world: World) -> None:
    world.is_called("trn3.99xlarge")
    world.has_devices(4)
    world.answers_neuron_ls(listed(4, 4, 144, lnc=2))
    machine = detect_machine(world)
    assert machine.instance is None
    assert (machine.instance_name, machine.instance_source) == ("trn3.99xlarge", "DMI")
    assert str(machine.core_ids) == "0-15"


def test_a_container_with_one_of_sixteen_devices_that_others_hold(world: World) -> None:
    world.has_devices(1)
    world.answers_neuron_ls(sample("trn2.48xlarge-one-of-16-busy"), folder="/opt/aws/neuron/bin")
    machine = detect_machine(world)
    assert machine.instance is not None
    assert (machine.instance_name, machine.instance_source) == ("trn2.48xlarge", "neuron-ls")
    assert machine.instance.devices == 16
    (device,) = machine.devices
    assert str(machine.core_ids) == "0-3"
    assert [process.pid for process in device.processes] == [1966680, 1966681]
    assert world.asked == ["neuron-ls --json-output"]


@pytest.mark.parametrize(
    ("product", "vendor"), [("", ""), ("HVM domU", "Xen"), ("Virtual Machine", "Amazon EC2")]
)
def test_the_metadata_service_is_asked_where_the_firmware_has_no_name(
    world: World, product: str, vendor: str
) -> None:
    world.is_called(product, vendor)
    world.has_devices(1)
    world.answers_metadata("inf2.8xlarge")
    machine = detect_machine(world)
    assert (machine.instance_name, machine.instance_source) == ("inf2.8xlarge", "IMDSv2")
    assert [asked.partition("/latest/")[2] for asked in world.asked] == [
        "api/token",
        "meta-data/instance-type",
    ]


@pytest.mark.parametrize(
    "network",
    [
        {},
        {"PUT": Response(403, "")},
        {"PUT": Response(200, "<html>\nhotel</html>")},
        {"PUT": Response(200, "x" * 5000)},
        {"PUT": Response(200, "a-token=="), "GET": NO_ANSWER},
        {"PUT": Response(200, "a-token=="), "GET": Response(404, "inf2.xlarge")},
        {"PUT": Response(200, "a-token=="), "GET": Response(200, "<html>inf2.xlarge</html>")},
        {"PUT": Response(200, "a-token=="), "GET": Response(200, "inf2." + "x" * 100_000)},
    ],
)
def test_a_metadata_service_that_is_dead_or_strange_names_nothing(
    world: World, network: dict[str, Response]
) -> None:
    world.has_devices(1)
    world.network.update(network)
    machine = detect_machine(world)
    assert (machine.instance, machine.instance_name, machine.instance_source) == (None, None, None)
    assert any(asked.startswith("PUT") for asked in world.asked)


@pytest.mark.parametrize(
    ("product", "vendor", "name"),
    [
        ("", "", None),
        ("20XW0055US", "LENOVO", None),
        ("b.1", "Somebody", None),
        ("m5.large", "Amazon EC2", "m5.large"),
    ],
)
def test_a_machine_without_devices_runs_nothing_and_asks_nobody(
    world: World, product: str, vendor: str, name: str | None
) -> None:
    world.is_called(product, vendor)
    world.answers_neuron_ls(listed(1, 2, 32))
    world.write("/dev/neuron_other")
    world.write("/dev/neuron")
    machine = detect_machine(world)
    assert world.asked == []
    assert (machine.instance, machine.instance_name, machine.devices) == (None, name, ())
    assert (machine.lnc, machine.driver, machine.driver_installed) == (None, None, None)
    assert machine.core_ids == CoreSet()


def test_a_neuron_instance_whose_driver_is_not_loaded(world: World) -> None:
    world.is_called("trn1.32xlarge")
    machine = detect_machine(world)
    assert machine.instance is not None
    assert machine.devices == ()
    assert str(machine.core_ids) == "0-31"
    assert machine.lnc == 1
    assert world.asked == []


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Finished(1, "", "level=fatal msg=..."), "bad"),
        (Finished(None, listed(1, 2, 32), "", "did not answer in 10 s", hangs=True), "hangs"),
        (Finished(None, "0" * 9_000_000, "", "printed more than 8 MiB and was stopped"), "bad"),
        (Finished(127, "", "No such file"), "bad"),
        (Finished(0, "unknown flag `json-output'", ""), "bad"),
        (None, "missing"),
    ],
)
def test_without_an_answer_of_neuron_ls_sysfs_and_the_catalog_speak(
    world: World, answer: Finished | None, kind: str
) -> None:
    world.is_called("trn1.32xlarge")
    world.has_devices(3)
    if answer is not None:
        world.installs("neuron-ls", answer)
    sysfs = "/sys/devices/virtual/neuron_device/neuron0"
    world.write(f"{sysfs}/core_count", "2")  # without a line's end
    machine = detect_machine(world)
    assert [device.core_ids for device in machine.devices] == [(0, 1), (2, 3), (4, 5)]
    assert machine.listing_kind == kind


def test_devices_are_told_by_their_name_where_the_instance_is_not(world: World) -> None:
    world.has_devices(2)
    world.write("/sys/class/neuron_device/neuron0/info/architecture/device_name", "Trainium2\n")
    world.write("/sys/class/neuron_device/neuron0/info/architecture/arch_type", "NDv3\n")
    machine = detect_machine(world)
    assert machine.instance_name is None
    assert str(machine.core_ids) == "0-7"
    assert (machine.lnc, machine.lnc_source) == (2, "default")


def test_devices_of_which_nothing_is_known(world: World) -> None:
    world.has_devices(2)
    world.write("/sys/class/neuron_device/neuron0/info/architecture/device_name", "Trainium9\n")
    world.write("/sys/class/neuron_device/neuron1/core_count", "99999999999")
    machine = detect_machine(world)
    assert [device.index for device in machine.devices] == [0, 1]
    assert (machine.core_ids, machine.lnc) == (CoreSet(), None)


SYSTEM_WIDE = "/opt/aws/neuron/logical_nc_config"


@pytest.mark.parametrize(
    ("variable", "told", "file", "lnc", "source"),
    [
        ("1", 2, "NEURON_LOGICAL_NC_CONFIG=2\n", 1, "NEURON_LOGICAL_NC_CONFIG"),
        (None, 2, "NEURON_LOGICAL_NC_CONFIG=1\n", 2, "neuron-ls"),
        (None, None, "# ours\nNEURON_LOGICAL_NC_CONFIG=1\n", 1, SYSTEM_WIDE),
        (None, None, "", 2, "default"),
        (None, None, "NEURON_LOGICAL_NC_CONFIG=\0junk", 2, "default"),
        ("junk", None, "", 2, "default"),
        ("", 1, "", 1, "neuron-ls"),
    ],
)
def test_who_decides_the_lnc(
    world: World, variable: str | None, told: int | None, file: str, lnc: int, source: str
) -> None:
    world.is_called("trn2.3xlarge")
    world.has_devices(1)
    world.write(SYSTEM_WIDE, file)
    if told is not None:
        world.answers_neuron_ls(listed(1, 8 // told, 96, lnc=told))
    if variable is not None:
        world = world.set_variable("NEURON_LOGICAL_NC_CONFIG", variable)
    machine = detect_machine(world)
    assert (machine.lnc, machine.lnc_source) == (lnc, source)
    assert len(machine.core_ids) == 8 // lnc


def test_the_driver_that_is_loaded_and_the_one_on_disk(world: World) -> None:
    world.write("/sys/module/neuron/version", "2.24.7.0\n")
    world.installs("modinfo", Finished(0, "2.26.5.0\n", ""))
    machine = detect_machine(world)
    assert (machine.driver, machine.driver_installed) == ("2.24.7.0", "2.26.5.0")
    assert world.asked == ["modinfo -F version neuron"]


@pytest.mark.parametrize(
    "answer", [Finished(1, "2.26.5.0", "modinfo: ERROR"), Finished(None, "", ""), Finished(0, "<html>", "")]
)
def test_a_driver_on_disk_that_cannot_be_read(world: World, answer: Finished) -> None:
    world.write("/sys/module/neuron/version", "2.24.7.0\n")
    world.installs("modinfo", answer)
    assert detect_machine(world).driver_installed is None


@pytest.mark.parametrize("text", ["", "\n", "junk here", "9" * 1000])
def test_a_driver_whose_version_is_none(world: World, text: str) -> None:
    world.write("/sys/module/neuron/version", text)
    assert detect_machine(world).driver is None
    assert world.asked == []


def test_errors_of_the_memory_are_added_up(world: World) -> None:
    world.has_devices(2)
    for index in range(2):
        folder = f"/sys/devices/virtual/neuron_device/neuron{index}/stats/hardware"
        world.write(f"{folder}/mem_ecc_uncorrected/total", "3\n")
        world.write(f"{folder}/mem_ecc_uncorrected/present", "100\n")
        world.write(f"{folder}/mem_ecc_corrected/total", "100\n")
    world.write("/sys/class/neuron_device/neuron1/stats/hardware/sram_ecc_uncorrected", "1\n")
    world.write("/sys/class/neuron_device/neuron0/stats/hardware/sram_ecc_uncorrected", "junk\n")
    assert detect_machine(world).hardware_errors == 7


def test_the_rest_of_the_machine(world: World) -> None:
    bare = detect_machine(world)
    assert (bare.has_efa, bare.has_collectives) == (None, False)
    assert bare.kernel
    assert bare.disk_free_bytes is not None
    assert bare.disk_free_bytes > 0
    world.write("/sys/class/net/lo")
    assert detect_machine(world).has_efa is False
    world.write("/sys/class/infiniband/mlx5_0/device/vendor", "0x15b3\n")
    assert detect_machine(world).has_efa is False, "a card of another maker"
    world.write("/sys/class/infiniband/rdmap0s6/device/vendor", "0x1d0f\n")
    world.write("/opt/aws/neuron/lib/libnccom.so.2")
    full = detect_machine(world)
    assert (full.has_efa, full.has_collectives) == (True, True)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("/elsewhere/NAME.2.33.10", ""),
        ("/etc/ld.so.cache", "glibc-ld.so.cache1.1\0\xffNAME.2\0/usr/local/lib/NAME.2"),
    ],
)
@pytest.mark.parametrize(("name", "fact"), [("libnccom.so", "has_collectives"), ("libnrt.so", "has_runtime")])
def test_a_library_may_lie_elsewhere(world: World, name: str, fact: str, file: str, text: str) -> None:
    here = world.set_variable("LD_LIBRARY_PATH", f":{world.path('/missing')}:{world.path('/elsewhere')}")
    here.write("/etc/ld.so.cache", "glibc-ld.so.cache1.1\0libother.so.1")
    here.write(f"/elsewhere/{name}x.1", "")
    assert getattr(detect_machine(here), fact) is False
    here.write(file.replace("NAME", name), text.replace("NAME", name))
    assert getattr(detect_machine(here), fact) is True


def test_a_container_of_aws_is_known_by_its_entry_point(world: World) -> None:
    assert detect_machine(world).in_aws_image is False
    world.write("/usr/local/bin/vllm_entrypoint.py", "import sys\n")
    assert detect_machine(world).in_aws_image is True


def test_a_home_that_cannot_be_leaves_the_disk_unknown(world: World) -> None:
    assert detect_machine(world.set_variable("HOME", "relative")).disk_free_bytes is None


def test_folders_where_files_should_be_are_no_error(world: World) -> None:
    for path in ("/sys/module/neuron/version", "/sys/devices/virtual/dmi/id/product_name", SYSTEM_WIDE):
        world.write(f"{path}/x")
    world.write("/sys/class/infiniband")
    world.write("/opt/aws/neuron/lib")
    world.has_devices(1)
    machine = detect_machine(world)
    assert (machine.instance_name, machine.driver, machine.has_collectives) == (None, None, False)


@pytest.mark.parametrize("name", [each.name for each in instance_types()])
def test_a_target_is_taken_from_the_catalog_alone(world: World, name: str) -> None:
    world.is_called("inf2.xlarge")
    world.has_devices(1)
    world.answers_neuron_ls(listed(1, 2, 32))
    world.write("/sys/module/neuron/version", "2.24.7.0\n")
    world.write("/opt/aws/neuron/lib/libnccom.so.2")
    here = world.set_variable("NEURON_LOGICAL_NC_CONFIG", "1")
    machine = detect_machine(here, target=name)
    instance = machine.instance
    assert instance is not None
    assert machine == Machine(
        architecture="",
        cpu_model="",
        cpu_flags=(),
        cores=instance.vcpus or 1,
        memory_bytes=instance.host_memory_bytes,
        compiler="",
        instance=instance,
        instance_name=name,
        instance_source="--target",
        lnc=instance.lnc_default,
        lnc_source="default",
        assumed=True,
    )
    assert world.asked == []
    assert len(machine.core_ids) == instance.logical_cores[instance.lnc_default]


def test_a_target_at_another_lnc(world: World) -> None:
    machine = replace(detect_machine(world, target="trn2.48xlarge"), lnc=1)
    assert len(machine.core_ids) == 128
    # No such instance can do that: a rule says so.
    machine = replace(detect_machine(world, target="trn1.2xlarge"), lnc=2)
    assert len(machine.core_ids) == 0


def test_an_unknown_target(world: World) -> None:
    with pytest.raises(UsageError, match=r"trn9\.large"):
        detect_machine(world, target="trn9.large")
