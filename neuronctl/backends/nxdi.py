"""The nxdi backend: vLLM's plugin over NxD Inference.

NEURON_COMPILED_ARTIFACTS names the folder that the plugin loads, or compiles into where loading fails with a
FileNotFoundError or a ValueError (plugin020:V/worker/neuronx_distributed_model_loader.py:184-212). Three
things follow. A compile gets an empty folder. A server gets links to the artifact's files and a
neuron_config.json of its own, which is what a compile overwrites first: so the artifact stays whole in the
moment between the plugin's decision and its end. And that decision, which the log tells, ends the server.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from neuronctl.backends.backend import COMPILER_FAILED, CompileJob, Output
from neuronctl.backends.command import serve_arguments, serve_command
from neuronctl.backends.nxdi_child import NO_SEAM
from neuronctl.backends.nxdi_output import find_differences, find_faults
from neuronctl.backends.nxdi_view import link_artifact
from neuronctl.backends.phases import Mark, Phase
from neuronctl.host import Host
from neuronctl.plan.make import API_KEY_VARIABLE, without_this_machine
from neuronctl.plan.neuron import TARGET_VARIABLE
from neuronctl.plan.plan import Plan

if TYPE_CHECKING:
    from neuronctl.child import Launch

ARTIFACTS_VARIABLE = "NEURON_COMPILED_ARTIFACTS"
WORK_VARIABLE = "BASE_COMPILE_WORK_DIR"
_FLAGS_VARIABLE = "NEURON_CC_FLAGS"
# Without it the compiler's cache answers with the failure that an interrupted compile left there (reference:
# known_issues, cached-failed-neff).
_RETRY_FLAG = "--retry_failed_compilation"

# Phrases of the log of NxD Inference 0.9.0 (nxdi:M/models/application_base.py), of the plugins' loaders,
# and of nxdi_child.py.
_CONFIGURING = r"neuronctl: making the configuration|Initializing a V1 LLM engine"
_COMPILING = r"Saving the neuron_config to|neuronctl: compiling into"
_SHARDING = r"Pre-sharding (the )?checkpoints|Finished compiling vision model"
_CHOOSING = r"override_neuron_config from additional_config|No neuron overrides are passed"
_LOADED = r"Successfully loaded pre-compiled model artifacts"
_STARTED = r"Starting vLLM (API )?server|Started server process"
_COMPILED_AGAIN = r"Unable to find precompiled artifacts from"
# What neuronx-cc says of any failure of its own (explain/patterns.yaml, compiler-failed).
_EXIT_70 = r"(failed with|exit(ed)?( with)?( ?code| status)?|returned( non-zero exit status)?)[ :=]+70\b"


class NxdiBackend:
    """See the module."""

    name = "nxdi"
    # What is sampled on the device comes without them (plugin020:…model_loader.py, NeuronCausalLM.sample).
    has_logprobs = False

    def phases(self, *, compiling: bool) -> tuple[Phase, ...]:
        """A compile has the long ones; a server that is given an artifact reads it in one."""
        if compiling:
            return (
                Phase("configure", _CONFIGURING, "starting"),
                Phase("compile", _COMPILING, "compiling"),
                Phase("shard weights", _SHARDING, "compiling"),
                Phase("first answer", _STARTED, "loading"),
            )
        return (
            Phase("configure", _CONFIGURING, "starting"),
            Phase("load artifact", _CHOOSING, "loading", reads_artifact=True),
            Phase("first answer", f"{_LOADED}|{_STARTED}", "loading"),
        )

    def compiling_marks(self) -> tuple[Mark, ...]:
        """The compiler's exit 70."""
        return (Mark(COMPILER_FAILED, _EXIT_70),)

    def serving_marks(self) -> tuple[Mark, ...]:
        """The plugin's decision to compile."""
        return (Mark("began to compile although it had an artifact", _COMPILED_AGAIN, is_fatal=True),)

    def compile_job(self, plan: Plan, host: Host, tree: Path, *, work: Path, log: Path) -> CompileJob:
        """The plugin's own functions without a server (nxdi_child.py)."""
        from neuronctl.child import Launch

        make_checkpoint_folder(plan)
        script = str(Path(__file__).with_name("nxdi_child.py"))
        argv = (str(plan.stack.python), script, *serve_arguments(plan, address="127.0.0.1", port=1))
        launch = Launch(argv=argv, env=_compile_environment(plan, host, tree, work), cwd=_cwd(work), log=log)
        return CompileJob(launch, NO_SEAM)

    def compile_launch(
        self, plan: Plan, host: Host, tree: Path, *, work: Path, port: int, api_key: str, log: Path
    ) -> Launch:
        """The very server that will serve, with an empty folder to compile into."""
        from neuronctl.child import Launch

        make_checkpoint_folder(plan)
        return Launch(
            argv=serve_command(plan, address="127.0.0.1", port=port),
            env={**_compile_environment(plan, host, tree, work), API_KEY_VARIABLE: api_key},
            cwd=_cwd(work),
            log=log,
        )

    def serve_launch(
        self, plan: Plan, host: Host, tree: Path | None, *, work: Path, api_key: str | None, log: Path
    ) -> Launch:
        """The server with links to the artifact; without one, a folder of this run to compile into."""
        from neuronctl.child import Launch

        given = work / "artifact"
        if tree is not None:
            link_artifact(tree, given, plan.profile.shape.features.lora.adapters)
            env = _environment(plan, host) | {
                ARTIFACTS_VARIABLE: str(given),
                WORK_VARIABLE: str(work / "nxd"),
            }
        else:
            make_checkpoint_folder(plan)
            env = _compile_environment(plan, host, given, work)
        env.pop(API_KEY_VARIABLE, None)
        if api_key is not None:
            env[API_KEY_VARIABLE] = api_key
        server = plan.profile.shape.server
        return Launch(
            argv=serve_command(plan, address=server.host, port=server.port), env=env, cwd=host.cwd, log=log
        )

    def clean_output(self, tree: Path) -> None:
        """Nothing is left that nobody needs."""

    def check_output(self, plan: Plan, tree: Path) -> Output:
        """Files whole, and a neuron_config.json that says what the plan predicted."""
        if faults := find_faults(tree):
            return Output(tuple(faults))
        found = find_differences(plan, tree)
        return Output(
            faults=tuple(str(one) for one in found if one.is_decisive),
            remarks=tuple(str(one) for one in found if not one.is_decisive),
        )

    def compiler_logs(self, work: Path) -> list[Path]:
        """neuronx-cc writes one for each graph (nxd:…/trace/model_builder.py:720-729)."""
        found = [path for path in work.rglob("log-neuron-cc.txt") if path.is_file()]
        return sorted(found, key=lambda path: path.stat().st_mtime)

    def compiled_again(self, tree: Path, work: Path) -> bool:
        """Never: it is stopped before."""
        return False


def make_checkpoint_folder(plan: Plan) -> None:
    """Make the folder for quantised weights: where there is none, NxD Inference writes one file of that name,
    in torch's own format, and fails where the folder above is missing (nxdi:M/models/application_base.py).

    Raises MachineUnfit.
    """
    from neuronctl.errors import MachineUnfit

    outlook = plan.outlook
    config = outlook.prediction.neuron_config if outlook and outlook.prediction else {}
    path = config.get("quantized_checkpoints_path")
    if not config.get("quantized") or not isinstance(path, str) or os.path.exists(path):
        return
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise MachineUnfit(
            f"cannot make {path}, which is named for quantised weights: {error.strerror}",
            fix="name a folder that can be written: features.quantization.checkpoint",
            code="machine.checkpoint-folder",
        ) from None


def _environment(plan: Plan, host: Host) -> dict[str, str]:
    """The user's variables and the plan's, with the serving Python's own programs first.

    neuronx-cc is looked for in PATH (reference: known_issues, path-shadowed-compiler).
    """
    users = without_this_machine(host.environ) if plan.machine.assumed else host.environ
    env = {**users, **{name: str(setting.value) for name, setting in plan.environment.items()}}
    paths = [str(plan.stack.python.parent), *filter(None, [env.get("PATH")])]
    return env | {"PATH": os.pathsep.join(paths)}


def _compile_environment(plan: Plan, host: Host, tree: Path, work: Path) -> dict[str, str]:
    """For a compile: where to, for which platform, and a cache that does not insist on old failures."""
    env = _environment(plan, host)
    env[ARTIFACTS_VARIABLE] = str(tree)
    # NxD empties the folder, which may hold somebody's files, and other compiles.
    named = env.get(WORK_VARIABLE)
    env[WORK_VARIABLE] = str(Path(named) / f"neuronctl-{plan.key}") if named else str(work / "nxd")
    if plan.machine.instance is not None and TARGET_VARIABLE not in plan.environment:
        env[TARGET_VARIABLE] = plan.machine.instance.compiler_target
    if _RETRY_FLAG not in (flags := env.get(_FLAGS_VARIABLE, "")):
        env[_FLAGS_VARIABLE] = f"{flags} {_RETRY_FLAG}".strip()
    env.pop(API_KEY_VARIABLE, None)
    return env


def _cwd(work: Path) -> Path:
    """NxD leaves files where it runs while it compiles (reference: known_issues, cwd-not-writable)."""
    folder = work / "cwd"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
