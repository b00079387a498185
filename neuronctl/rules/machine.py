"""Rules about the instance type: its cores, their LNC, and which plugin may run there."""

from __future__ import annotations

from neuronctl.errors import MachineUnfit
from neuronctl.machine.catalog import instance_types
from neuronctl.machine.cores import partition
from neuronctl.machine.detect import Machine
from neuronctl.neuron.native import local_ranks
from neuronctl.neuron.outlook import Outlook
from neuronctl.profile.suggest import nearest_word
from neuronctl.rules.cores import core_count, wanted_cores
from neuronctl.rules.degrees import documented_degrees, good_degrees
from neuronctl.rules.place import engine_key, neuron_key, remove_variable, variable_key
from neuronctl.rules.rule import NEURON, Remark, rule
from neuronctl.rules.situation import Situation
from neuronctl.stack.version import release

_LNC_GUIDE = "sdk:about-neuron/arch/neuron-features/logical-neuroncore-config.rst"
_RUNTIME_GUIDE = "sdk:neuron-runtime/guides/configuration-guide.rst"


@rule(
    "machine.unknown-instance",
    "warning",
    "neuronctl: the catalog holds the instance types that AWS's documentation names",
    backends=NEURON,
)
def unknown_instance(situation: Situation) -> Remark | None:
    """A Neuron machine whose type is not in the catalog.

    Its devices and cores are counted all the same; its memory for each core, the documented degrees and
    which plugin supports it are not known, so much less is checked.
    """
    machine = situation.machine
    if machine.instance is not None or machine.instance_name is None or not machine.devices:
        return None
    near = nearest_word(machine.instance_name, [each.name for each in instance_types()])
    return Remark(
        f"{machine.instance_name} (named by {machine.instance_source}) is not in the catalog of Neuron "
        "instances: whether the model fits, and which plugin supports it, is not checked",
        fix=f"plan for one that is like it: --target {near or 'trn2.48xlarge'}",
    )


@rule(
    "machine.lnc-unsupported",
    "error",
    "sdk:compiler/error-codes/EARG001.rst",
    backends=NEURON,
    covers=("lnc2-on-trn1",),
)
def lnc_unsupported(situation: Situation) -> Remark | None:
    """An LNC that the chip does not have.

    LNC is how many physical cores make one logical core. Inferentia2 and Trainium1 have LNC 1 only, and the
    compiler refuses another one (NCC_EARG001).
    """
    outlook, instance = situation.outlook, situation.machine.instance
    if outlook is None or instance is None or outlook.lnc in instance.lnc_supported:
        return None
    name, key = _lnc_place(situation)
    supported = " or ".join(str(lnc) for lnc in instance.lnc_supported)
    return Remark(
        f"{name} asks for LNC {outlook.lnc}, and {instance.name} ({instance.chip}) has LNC {supported} only",
        fix=f"remove {name}, or set it to {instance.lnc_default}",
        key=key,
    )


def _lnc_place(situation: Situation) -> tuple[str, str | None]:
    """Who said the LNC: its name for people, and the profile's key if it is there."""
    variable = "NEURON_LOGICAL_NC_CONFIG"
    if variable in situation.profile.shape.env:
        return f"env.{variable}", f"env.{variable}"
    if "logical_nc_config" in situation.profile.shape.neuron:
        return "neuron.logical_nc_config", "neuron.logical_nc_config"
    return situation.machine.lnc_source or variable, None


@rule(
    "machine.lnc-mismatch",
    "error",
    f"{_LNC_GUIDE}:41; nxdi:M/models/config.py:729-759",
    backends=NEURON,
    covers=("lnc-mismatch",),
)
def lnc_mismatch(situation: Situation) -> Remark | None:
    """Two places say a different LNC, so that one of them is silently passed over.

    The variable NEURON_LOGICAL_NC_CONFIG wins over the Neuron config's logical_nc_config, also when compiled
    artifacts are loaded. What is compiled for one LNC does not load with another.
    """
    outlook, instance = situation.outlook, situation.machine.instance
    if outlook is None or (instance is not None and outlook.lnc not in instance.lnc_supported):
        return None
    variable = "NEURON_LOGICAL_NC_CONFIG"
    said = situation.environment.get(variable, "").strip() or None
    if said is not None and said != str(outlook.lnc):
        wanted = f"the plan is for LNC {outlook.lnc}"
        supported = [str(lnc) for lnc in instance.lnc_supported] if instance is not None else ["1", "2"]
        if said not in supported:
            fix = f"set {variable} to {' or '.join(supported)}, or remove it"
        else:
            fix = f"{remove_variable(situation, variable)}, or set neuron.logical_nc_config: {said}"
        message = f"{variable} is {said} and {wanted}: the variable wins, and the cores are counted otherwise"
        return Remark(message, fix=fix, key=variable_key(situation, variable))
    setting = outlook.settings.get("logical_nc_config")
    # A number in quotes is the same LNC; that it is no number, nxdi.bad-value says.
    if setting is None or str(setting) == str(outlook.lnc) or outlook.generation == "native":
        return None
    return Remark(
        f"logical_nc_config is {setting}, and {variable} says {outlook.lnc}: the variable wins",
        fix=f"set env.{variable}: '{setting}', or remove logical_nc_config",
        key=neuron_key(situation, "logical_nc_config"),
    )


@rule(
    "machine.virtual-core-size",
    "warning",
    "sdk:libraries/nxd-inference/developer_guides/weights-sharding-guide.rst:48,115; "
    "nxdi:M/models/config.py:730",
    backends=NEURON,
)
def virtual_core_size(situation: Situation) -> Remark | None:
    """The older name of NEURON_LOGICAL_NC_CONFIG, with another value.

    NxD Inference reads the newer name only; which of the two wins in the runtime is not documented.
    """
    outlook, variable = situation.outlook, "NEURON_RT_VIRTUAL_CORE_SIZE"
    said = situation.environment.get(variable, "").strip() or None
    if said is None or outlook is None or said == str(outlook.lnc):
        return None
    return Remark(
        f"{variable} is {said} and the plan is for LNC {outlook.lnc}; which of the two the runtime follows "
        "is not documented",
        fix=f"{remove_variable(situation, variable)}; NEURON_LOGICAL_NC_CONFIG says the LNC",
        key=variable_key(situation, variable),
    )


@rule(
    "machine.too-many-cores",
    "error",
    "sdk:neuron-runtime/nrt-troubleshoot.rst:206-216",
    backends=NEURON,
    covers=("too-many-cores",),
)
def too_many_cores(situation: Situation) -> Remark | None:
    """Tensor parallelism over more logical cores than there are.

    Each rank takes one logical core. The runtime refuses to load (NRT_LOAD_NOT_ENOUGH_NC, or "Could not find
    VNC id"). How many there are depends on the LNC: a Trainium2 chip has four logical cores at LNC 2, and
    eight at LNC 1.
    """
    outlook = situation.outlook
    if outlook is None:
        return None
    wanted, cores = wanted_cores(situation), core_count(situation)
    if cores is None or wanted <= cores:
        return None
    instance, devices = situation.machine.instance, situation.machine.devices
    name = instance.name if instance is not None else "this machine"
    count = len(devices) or (instance.devices if instance is not None else 0)
    seen = "" if instance is None or count == instance.devices else f" of {instance.devices} are visible here"
    message = (
        f"{_parallel(outlook, wanted)} wants {wanted} logical cores, and {name} has {cores} "
        f"({count} devices{seen}, LNC {outlook.lnc})"
    )
    fix = f"set engine.tensor_parallel_size to {cores} or less"
    if wanted == outlook.tensor_parallel_size:
        if degrees := good_degrees(situation):
            fix = f"set engine.tensor_parallel_size to {degrees}"
        elif instance is not None and outlook.estimate is not None:
            larger = ", or ".join(outlook.fitting) or "a smaller model, or a larger machine with --target"
            fix = f"no degree up to {cores} divides the heads and fits here; what would fit: {larger}"
    return Remark(message, fix=fix, key="engine.tensor_parallel_size")


def _parallel(outlook: Outlook, wanted: int) -> str:
    said = f"tensor parallel size {outlook.tensor_parallel_size}"
    if wanted == outlook.tensor_parallel_size:
        return said
    other = "the other parallel sizes" if outlook.generation == "native" else "a tp_degree of its own"
    return f"{said} with {other}"


@rule(
    "machine.too-many-replicas",
    "error",
    f"{_RUNTIME_GUIDE}:99-122 (a core belongs to one process)",
    backends=NEURON,
)
def too_many_replicas(situation: Situation) -> Remark | None:
    """More servers than there are sets of cores.

    Each server takes cores of its own, which follow each other without a gap.
    """
    wanted, outlook = situation.profile.shape.server.replicas, situation.outlook
    if wanted in ("auto", 1) or not isinstance(wanted, int) or outlook is None or not outlook.granted:
        return None
    size, granted = wanted_cores(situation), outlook.granted
    if outlook.assigned is None or size < 1:
        return None  # Not even one server fits: machine.too-many-cores or machine.cores-not-granted.
    try:
        partition(granted, size, wanted)
    except MachineUnfit as unfit:
        fits = int(str(unfit.details["fit"]))
    else:
        return None
    return Remark(
        f"server.replicas {wanted}: {fits} servers of {size} cores fit into the {len(granted)} cores "
        f"({granted})",
        fix=f"set server.replicas to {fits} or less, or auto; or lower engine.tensor_parallel_size",
        key="server.replicas",
    )


@rule(
    "machine.undocumented-degree",
    "warning",
    "sdk:libraries/nxd-inference/developer_guides/feature-guide.rst:154-158",
    backends=("nxdi",),
)
def undocumented_degree(situation: Situation) -> Remark | None:
    """A tensor parallel size that NxD Inference's guide does not list for this chip.

    It may work; nobody says so. The lists are for the default LNC, and there is none for Trainium3.
    """
    outlook, instance = situation.outlook, situation.machine.instance
    if outlook is None or instance is None:
        return None
    wanted, cores = wanted_cores(situation), core_count(situation)
    degrees = documented_degrees(situation)
    if not degrees or wanted in degrees or cores is None or wanted > cores:
        return None
    message = (
        f"tensor parallel size {wanted} is not among those that NxD Inference lists for {instance.name}: "
        f"{', '.join(map(str, degrees))}"
    )
    fix = f"set engine.tensor_parallel_size to {good_degrees(situation) or 'one of them'}"
    if wanted in outlook.degrees:
        message += "; none of these divides the heads and fits, and this one does"
        fix = "keep it, or plan for a larger machine with --target"
    return Remark(
        message,
        fix=fix,
        key="engine.tensor_parallel_size",
    )


@rule(
    "machine.pipeline-unused",
    "warning",
    "plugin020:V/worker/neuronx_distributed_model_loader.py (_get_default_neuron_config; not run)",
    backends=("nxdi",),
)
def pipeline_unused(situation: Situation) -> Remark | None:
    """The plugin hands NxD Inference the tensor parallel size only, so there are no pipeline stages.

    By its code (not run): vLLM still counts a rank for each stage, and neuronctl assigns cores for one.
    """
    stages = situation.engine.get("pipeline_parallel_size")
    if not isinstance(stages, int) or stages < 2:
        return None
    return Remark(
        f"pipeline_parallel_size {stages}: by the plugin's code (not run) NxD Inference never learns of it",
        fix="remove engine.pipeline_parallel_size, and set engine.tensor_parallel_size to the cores wanted",
        key=engine_key(situation, "pipeline_parallel_size"),
    )


@rule("machine.cores-not-granted", "error", f"{_RUNTIME_GUIDE}:27-38", backends=NEURON)
def cores_not_granted(situation: Situation) -> Remark | None:
    """The environment grants fewer cores than the server needs, or none side by side.

    NEURON_RT_VISIBLE_CORES (or NEURON_RT_NUM_CORES) is a bound that neuronctl never leaves. A server's cores
    must follow each other without a gap.
    """
    outlook = situation.outlook
    if outlook is None or outlook.assigned is not None or outlook.granted is None:
        return None
    granted, cores = outlook.granted, core_count(situation)
    wanted = local_ranks(situation.engine) if outlook.generation == "native" else outlook.tensor_parallel_size
    if cores is not None and wanted > cores:
        return None  # machine.too-many-cores
    variable = "NEURON_RT_VISIBLE_CORES"
    if not situation.environment.get(variable, "").strip():
        variable = "NEURON_RT_NUM_CORES"
    elif outlook.generation == "native":
        return None  # native.visible-cores: it must not be set at all
    why = f"{len(granted)} of the {wanted} that are needed"
    if len(granted) >= wanted:
        why = f"no {wanted} of them without a gap"
    return Remark(
        f"{variable} grants the logical cores {granted}: {why}",
        fix=f"grant more with {variable}, or lower engine.tensor_parallel_size",
        key=variable_key(situation, variable),
    )


@rule("machine.core-list", "info", f"{_RUNTIME_GUIDE}:27-32", backends=("nxdi",))
def core_list(situation: Situation) -> Remark | None:
    """NEURON_RT_VISIBLE_CORES as a list with commas, which the runtime's guide does not know.

    It documents one core or one range. neuronctl reads such a list as what it may use, and hands one range
    of it on.
    """
    outlook = situation.outlook
    if outlook is None or outlook.granted is None or outlook.assigned is None:
        return None
    if outlook.granted.is_contiguous:
        return None
    variable = "NEURON_RT_VISIBLE_CORES"
    return Remark(
        f"{variable} grants {outlook.granted}; lists with commas are not documented for the runtime, so "
        f"the server gets the range {outlook.assigned}",
        fix=f"set {variable} to one range, such as {outlook.assigned}",
        key=variable_key(situation, variable),
    )


# What NKI calls the targets (reported; pub:70891553229).
_TARGET_NAMES = {"gen2": ("inf2", "trn1", "trn1n"), "gen3": ("trn2",), "gen4": ("trn3",)}


@rule(
    "machine.platform-override",
    "warning",
    "nxdi:M/models/config.py:723-727; sdk:vllm-neuron/docs/guides/reference-configuration.md:194",
    backends=NEURON,
)
def platform_override(situation: Situation) -> Remark | None:
    """NEURON_PLATFORM_TARGET_OVERRIDE names another platform than the machine's.

    It is for compiling where there is no device. A value that was left in the shell makes the compiler
    work for another chip without a word, and the output does not load here.
    """
    instance, variable = situation.machine.instance, "NEURON_PLATFORM_TARGET_OVERRIDE"
    said = situation.environment.get(variable, "").strip() or None
    if said is None or instance is None:
        return None
    if instance.compiler_target in _TARGET_NAMES.get(said.lower(), (said.lower(),)):
        return None
    return Remark(
        f"{variable} is {said} and {instance.name} is {instance.compiler_target}: what is compiled will be "
        f"for {said}",
        fix=f"{remove_variable(situation, variable)}, or plan for the other machine with --target",
        key=variable_key(situation, variable),
    )


@rule(
    "machine.native-unsupported",
    "error",
    "g2:README.md@7eff3f24; sdk:src/helperscripts/n2-manifest.json (vllm-neuron: trn2, trn3)",
    backends=("native",),
)
def native_unsupported(situation: Situation) -> Remark | None:
    """The native plugin is for Trainium2 and Trainium3 only.

    Inferentia2 and Trainium1 have the plugin over NxD Inference; SDK 2.28 (plugin 0.4) is the last one that
    nobody disputes there.
    """
    instance, stack = situation.machine.instance, situation.stack
    if instance is None or runs_native(situation.machine):
        return None
    plugin = stack.versions.get("vllm-neuron")
    name = f"plugin {plugin}" if stack.generation == "native" else "the native plugin"
    fix = "take an image of SDK 2.28 (plugin 0.4, NxD Inference; plan with --stack sdk-2.28), or a trn2 "
    fix += "instance"
    if stack.generation == "nxdi":
        fix = f"set backend: auto or backend: nxdi: plugin {plugin} over NxD Inference is installed"
    return Remark(f"{name} is for trn2 and trn3, not for {instance.name}", fix=fix, key="backend")


def runs_native(machine: Machine) -> bool:
    """Whether the native plugin may run there, as far as the catalog knows the machine."""
    instance = machine.instance
    return instance is None or instance.plugin_support.get("native_0.21_0.24") != "unsupported"


@rule(
    "machine.disputed-support",
    "warning",
    "sdk:release-notes/components/nxd-inference.rst:61; g2:README.md@7eff3f24; dlc:README.md:94-99; "
    "gh:vllm-project/vllm-neuron#16",
    backends=("nxdi",),
    covers=("trn1-inf2-nxdi-0.9",),
)
def disputed_support(situation: Situation) -> Remark | None:
    """Whether plugin 0.5 runs on Inferentia2 and Trainium1: AWS's own pages disagree.

    The plugin's README and the table of images list both. NxD Inference's release note of SDK 2.29 says that
    its models need Trn2 or newer, and pins this hardware to SDK 2.28.
    """
    instance = situation.machine.instance
    if instance is None or instance.plugin_support.get("nxdi_0.5.x") != "disputed":
        return None
    plugin = _nxdi_plugin(situation)
    if plugin is None or release(plugin) < (0, 5):
        return None
    nxdi = situation.stack.versions.get("neuronx-distributed-inference", "0.9 or newer")
    return Remark(
        f"plugin {plugin} on {instance.name} is disputed: the plugin's README and the table of images list "
        f"it, and NxD Inference's release note of SDK 2.29 says that from 0.9 on (here {nxdi}) its models "
        "need trn2 or newer",
        fix="take SDK 2.28 (plugin 0.4; plan with --stack sdk-2.28), or a trn2 instance",
    )


def _nxdi_plugin(situation: Situation) -> str | None:
    """The version of the plugin over NxD Inference, where that is what is installed."""
    return situation.stack.versions.get("vllm-neuron") if situation.stack.generation == "nxdi" else None


@rule(
    "machine.trn3-unlisted",
    "warning",
    "plugin020:README.md Prerequisites; sdk:release-notes/components/nxd-inference.rst:158",
    backends=("nxdi",),
)
def trn3_unlisted(situation: Situation) -> Remark | None:
    """Plugin 0.2.0 does not list Trainium3, which is in NxD Inference since SDK 2.27."""
    instance = situation.machine.instance
    if instance is None or instance.family != "trn3":
        return None
    plugin = _nxdi_plugin(situation)
    if plugin is None or release(plugin) >= (0, 2, 1):
        return None
    return Remark(
        f"plugin {plugin} does not list trn3 ({instance.name}); NxD Inference has it since SDK 2.27",
        fix="take plugin 0.3.0 or newer",
    )


@rule(
    "machine.single-core-native",
    "warning",
    "sdk:tools/neuron-agentic-development/tutorials/equivalence-tutorial.rst:324-328",
    backends=("native",),
    covers=("tp1-sigsegv",),
)
def single_core_native(situation: Situation) -> Remark | None:
    """Tensor parallel size 1 on a trn2.48xlarge can end the server without a word.

    The native plugin dies of SIGSEGV there if the model needs to be spread over several cores.
    """
    outlook, instance = situation.outlook, situation.machine.instance
    if outlook is None or outlook.tensor_parallel_size != 1:
        return None
    if instance is None or instance.name != "trn2.48xlarge":
        return None
    return Remark(
        "tensor parallel size 1 on trn2.48xlarge can crash with SIGSEGV and no message, if the model needs "
        "several cores",
        fix="set engine.tensor_parallel_size to that of the model's example",
        key="engine.tensor_parallel_size",
    )


RULES = (
    unknown_instance,
    lnc_unsupported,
    lnc_mismatch,
    virtual_core_size,
    too_many_cores,
    too_many_replicas,
    undocumented_degree,
    pipeline_unused,
    cores_not_granted,
    core_list,
    platform_override,
    native_unsupported,
    disputed_support,
    trn3_unlisted,
    single_core_native,
)
