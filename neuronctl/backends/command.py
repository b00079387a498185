"""The command line of vLLM's server for a plan."""

from __future__ import annotations

from pathlib import Path

from neuronctl.backends.entry_point import server_command
from neuronctl.plan.arguments import argv
from neuronctl.plan.plan import Plan

# What torch compiles goes into this folder of the cpu backend's output.
INDUCTOR = "inductor"


def serve_command(plan: Plan, *, address: str, port: int) -> tuple[str, ...]:
    """The argv of vLLM's server for this plan."""
    return (*server_command(plan.stack), *serve_arguments(plan, address=address, port=port))


def serve_arguments(plan: Plan, *, address: str, port: int) -> tuple[str, ...]:
    """What the server is told: the argv without the program."""
    return (
        *argv({"model": str(plan.model.path), "host": address, "port": port}),
        *argv({name: setting.value for name, setting in plan.engine.items()}),
        *plan.passthrough,
    )


def shown_command(plan: Plan) -> tuple[tuple[str, ...], dict[str, str]]:
    """What will serve, and the variables set on top of the user's; a run's own folders in capitals."""
    server = plan.profile.shape.server
    variables = {name: str(setting.value) for name, setting in plan.environment.items()}
    if plan.profile.shape.artifacts.policy != "never":
        variables |= _OUTPUT_VARIABLES[plan.backend]
    return serve_command(plan, address=server.host, port=server.port), variables


def cache_variables(folder: Path) -> dict[str, str]:
    """The variables that lead vLLM and torch to the cpu backend's compiled output in `folder`."""
    return {"TORCHINDUCTOR_CACHE_DIR": str(folder / INDUCTOR), "VLLM_CACHE_ROOT": str(folder / "vllm")}


_OUTPUT_VARIABLES = {
    "cpu": cache_variables(Path("COPY-OF-ARTIFACT")),
    # Unset, the plugin clears its own folder at each start, and all compiles share one work folder.
    "nxdi": {"NEURON_COMPILED_ARTIFACTS": "ARTIFACT", "BASE_COMPILE_WORK_DIR": "WORK-FOLDER"},
    "native": {"VLLM_CACHE_ROOT": "COPY-OF-ARTIFACT"},
}
