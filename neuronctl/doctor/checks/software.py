"""Checks of the serving Python: which it is, what it has, and whether that goes together."""

from __future__ import annotations

from neuronctl.doctor.check import CannotTell, NotHere, Remedy, Seen, Trouble, check
from neuronctl.doctor.facts import FACTS_S, Facts
from neuronctl.errors import Exit
from neuronctl.rules import cpu_stack, packages, stack
from neuronctl.stack.detect import Stack
from neuronctl.stack.installation import IMPORT_NAMES
from neuronctl.stack.pip_index import pip_obstacle

NO_VLLM = Trouble(
    "stack.no-vllm",
    "error",
    "The Python that was named has no vLLM, or none that has it was found.",
    "neuronctl: it looks in its own Python, in $VIRTUAL_ENV and where Neuron machine images have theirs",
)
NO_PLUGIN = Trouble(
    "stack.no-plugin",
    "error",
    "A Neuron machine, or a profile for Neuron, and a Python whose vLLM has no Neuron plugin: it would serve "
    "on the processor.",
    "plugin020:V/__init__.py:14-23; gh:vllm-project/vllm-neuron#7",
)


@check(
    "serving Python",
    "The Python that has vLLM",
    finds=(NO_VLLM, NO_PLUGIN),
    rules=(cpu_stack.plugin_missing, cpu_stack.not_built_for_cpu),
    exit_code=Exit.STACK_UNFIT,
    timeout_s=FACTS_S,
)
def serving_python(facts: Facts) -> Seen:
    """Which interpreter serves, why that one, and which generation of vLLM on Neuron it has.

    `--python`, else `NEURONCTL_PYTHON`, else the first that has vLLM of neuronctl's own interpreter,
    `$VIRTUAL_ENV` and the environments of Neuron machine images. Nothing of it is imported: versions are
    those of the packages' metadata.
    """
    found = facts.stack()
    data: dict[str, object] = {
        "python": str(found.python),
        "chosen_by": found.chosen_by,
        "python_version": found.python_version,
        "generation": found.generation,
        "versions": dict(found.versions),
    }
    where = f"{found.python} ({found.chosen_by}, Python {found.python_version})"
    if found.generation == "cpu" and facts.backend != "cpu":
        from neuronctl.stack.lack import find_lack

        lack = find_lack(found, facts.backend)
        because = f": {lack.what}" if lack else ""
        elsewhere = "name the Python of AWS's image or machine image that has it with --python; or say "
        elsewhere += "backend: cpu in the profile if the processor is meant"
        finding = NO_PLUGIN(
            f"{where} has vLLM {found.vllm_version} without Neuron's plugin{because}",
            fix=lack.fix if lack else elsewhere,
        )
        return Seen(f"vLLM {found.vllm_version} without Neuron's plugin in {where}", (finding,), data=data)
    if found.generation is not None:
        return Seen(
            f"vLLM {found.vllm_version or 'of no known version'} for {found.generation} in {where}", data=data
        )
    from neuronctl.plan.backend import no_vllm

    refusal = no_vllm(found, facts.wanted_backend, facts.machine())
    return Seen(f"no vLLM in {where}", (NO_VLLM(refusal.what, fix=refusal.fix),), data=data)


def _stack(facts: Facts) -> Stack:
    """The serving Python. Raises CannotTell where there is none: that is for its own check to say.

    Raises NotHere where it is for another backend: then another Python will serve, and what this one has
    does not matter.
    """
    found = facts.usable_stack
    if found is None:
        raise CannotTell("the serving Python cannot be used")
    if (other := facts.other_generation) is not None:
        raise NotHere(f"the serving Python is for {other}, and {facts.backend} is meant")
    return found


@check(
    "packages",
    "Neuron's packages, and whether they go together",
    rules=(
        stack.pypi_placeholder,
        stack.missing_module,
        stack.installed_twice,
        stack.unreadable_version,
        *packages.RULES,
        stack.mixed_sdk,
        stack.unknown_sdk,
    ),
    exit_code=Exit.STACK_UNFIT,
    timeout_s=FACTS_S,
)
def neuron_packages(facts: Facts) -> Seen:
    """The versions of Neuron's packages against the table of SDKs; PyPI's placeholders; what is missing.

    PyPI has packages under Neuron's names that hold nothing but the words WRONG PACKAGE. The real ones come
    from AWS's own pip repository, each SDK's as a set that was released together.
    """
    from neuronctl.stack.identify import identify_stack

    found = _stack(facts)
    installed = {name: version for name, version in found.versions.items() if name in IMPORT_NAMES}
    if not installed:
        if facts.backend == "cpu":
            raise NotHere("none is installed, and the cpu backend needs none")
        raise NotHere("none is installed; what is missing says the check of the serving Python")
    identified = identify_stack(found)
    data: dict[str, object] = {
        "versions": installed,
        "sdk": identified.sdk.version if identified.sdk else None,
        "candidates": list(identified.candidates),
        "placeholders": list(found.placeholders),
    }
    empty = [one.split()[0] for one in found.placeholders]
    remedies: tuple[Remedy, ...] = ()
    if empty:
        pip = (str(found.python), "-m", "pip", "uninstall", "-y", *empty)
        remedies = (Remedy("stack.pypi-placeholder", f"uninstall {', '.join(empty)}", pip),)
    shown = ", ".join(f"{name} {version}" for name, version in installed.items() if name not in empty)
    sdk = f"SDK {identified.sdk.version}" if identified.sdk else "no SDK that is known"
    empties = f"; {len(empty)} of PyPI's empty packages" if empty else ""
    return Seen(f"{sdk}: {shown or 'nothing real'}{empties}", data=data, remedies=remedies)


@check(
    "compiler",
    "The Neuron compiler that would be called",
    rules=(stack.shadowed_compiler,),
    exit_code=Exit.STACK_UNFIT,
    timeout_s=FACTS_S,
)
def compiler(facts: Facts) -> Seen:
    """Which neuronx-cc PATH finds, and whether that is the serving Python's own."""
    found = _stack(facts)
    if found.versions.keys().isdisjoint(IMPORT_NAMES):
        raise NotHere("the serving Python has none of Neuron's packages")
    path = found.compiler_path
    data: dict[str, object] = {"path": str(path) if path else None, "outside": found.compiler_outside}
    version = found.versions.get("neuronx-cc")
    package = f"neuronx-cc {version}" if version else "no neuronx-cc"
    return Seen(f"{package} is installed; PATH finds {path or 'none'}", data=data)


PIP_STOPS = Trouble(
    "stack.pip-stops",
    "warning",
    "pip is configured so that it installs nothing, or stops at its own configuration: what other findings "
    "say to install cannot be.",
    "pip 24, _internal/configuration.py (ConfigurationFileCouldNotBeLoaded); pip install --help: --no-index",
)


@check(
    "pip",
    "Where pip looks for packages",
    finds=(PIP_STOPS,),
    rules=(stack.pip_index_replaced,),
    exit_code=Exit.STACK_UNFIT,
    timeout_s=FACTS_S,
)
def pip(facts: Facts) -> Seen:
    """pip's index: AWS's repository beside the ordinary one, not in its place.

    Read are PIP_INDEX_URL, PIP_NO_INDEX and pip's configuration files, in pip's order; pip itself is not run.
    """
    found = _stack(facts)
    data: dict[str, object] = {"index_is_aws": found.pip_index is not None}
    if (obstacle := pip_obstacle(facts.host, found.python)) is not None:
        return Seen("it installs nothing", (PIP_STOPS(obstacle.what, fix=obstacle.fix),), data=data)
    says = (
        f"everything in {found.pip_index.url}" if found.pip_index else "ordinary packages in their own index"
    )
    return Seen(says, data=data)


CHECKS = (serving_python, neuron_packages, compiler, pip)
