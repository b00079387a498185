"""Compile with the plugin's own functions, and end before anything is loaded. Runs in the serving Python.

    python nxdi_child.py ARGUMENTS OF VLLM'S SERVER

The parser, vLLM's configuration, the plugin's platform, its worker and its loader are the installed ones, in
the order in which vLLM's engine calls them: what is compiled is what a server with these arguments would
compile. NEURON_COMPILED_ARTIFACTS names an empty folder, so the loader finds nothing there and compiles
(plugin020:V/worker/neuronx_distributed_model_loader.py:184-194). Only two things are changed, in memory:

- `load` of NxD Inference, which the loader calls right after `compile` and which needs a device, ends the
  program instead.
- While vLLM chooses its platform, the question whether /dev/neuron* exists is answered with yes: the plugin
  registers itself by that name alone (plugin020:V/__init__.py:8-23). The platform that is compiled for comes
  from NEURON_PLATFORM_TARGET_OVERRIDE. vLLM looks at the model's class in a process of its own, which is this
  program with the one argument --look-at-model: it gets the same answer.

Exit codes: 0 compiled; 96 the installed software has no such seam, nothing was done; else what a failing
Python gives. neuronctl cannot be imported here.
"""

from __future__ import annotations

import glob
import importlib
import inspect
import os
import runpy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

NO_SEAM = 96

# Of the loaders of 0.2.0, 0.3.0 (fork-infinity) and 0.5.x (fork-exa), which agree.
_LOADER = "vllm_neuron.worker.neuronx_distributed_model_loader"
_COMPILE = "_compile_and_load_model"
_PARAMETERS = ["self", "model_path", "neuronx_model_cls", "config", "compiled_path"]
_DEVICES = "/dev/neuron*"
_MODELS = "vllm.model_executor.models.registry"
_LOOK = "--look-at-model"

# Where vLLM has them, the newest place first.
_ARGUMENTS = ["vllm.entrypoints.launchers.cli_args", "vllm.entrypoints.openai.cli_args"]  # 0.32; up to 0.16
_PARSER = ["vllm.utils.argparse_utils", "vllm.utils"]  # from 0.12 on; up to 0.11


class _NoSeam(Exception):
    """What is installed is not what this program knows."""


class _Compiled(BaseException):
    """The compile is done. No Exception, so that nothing on the way takes it for a failure."""


def main(words: list[str]) -> int:
    """Compile for the server that `words` would start."""
    _forget_own_folder()
    if words == [_LOOK]:
        with _devices_listed():
            runpy.run_module(_MODELS, run_name="__main__", alter_sys=True)
        return 0
    try:
        # vLLM's modules look for the platform while they are imported: in the order of a server, here too.
        with _devices_listed():
            make_arg_parser = _seam(_ARGUMENTS, "make_arg_parser")
            platform = _seam(["vllm.platforms"], "current_platform")
        if not type(platform).__module__.startswith("vllm_neuron"):
            raise _NoSeam(f"vLLM runs on {type(platform).__module__}.{type(platform).__name__}")
        stop_after_compile(_seam([_LOADER], "NeuronModelBase"))
        parser_class = _seam(_PARSER, "FlexibleArgumentParser")
        check = _seam(_ARGUMENTS, "validate_parsed_serve_args")
        engine_args = _seam(["vllm.engine.arg_utils"], "AsyncEngineArgs")
        context = _seam(["vllm.usage.usage_lib"], "UsageContext")
        executor = _seam(["vllm.v1.executor.abstract"], "Executor")
        load_plugins = _seam(["vllm.plugins"], "load_general_plugins")
    except _NoSeam as error:
        _say(f"cannot compile without a server: {error}")
        return NO_SEAM
    arguments = make_arg_parser(parser_class()).parse_args(words)
    check(arguments)
    _say("making the configuration")
    load_plugins()
    _look_at_models_likewise()
    config = engine_args.from_cli_args(arguments).create_engine_config(
        usage_context=context.OPENAI_API_SERVER
    )
    executor_class = executor.get_class(config)
    if executor_class.__name__ != "UniProcExecutor":  # another one compiles in a process that we do not reach
        _say(f"cannot compile without a server: the model would be loaded by {executor_class.__name__}")
        return NO_SEAM
    try:
        executor_class(config)
    except _Compiled:
        _say("compiled")
        return 0
    _say("the plugin loaded a model instead of compiling one")
    return 1


def stop_after_compile(loader: type[Any]) -> None:
    """Make the loader end the program where it would load what it has compiled. Raises _NoSeam."""
    compile_and_load: Callable[..., None] | None = getattr(loader, _COMPILE, None)
    if compile_and_load is None:
        raise _NoSeam(f"{loader.__name__} has no {_COMPILE}")
    if (found := list(inspect.signature(compile_and_load).parameters)) != _PARAMETERS:
        raise _NoSeam(f"{loader.__name__}.{_COMPILE} takes {found}")

    def only_compile(self: Any, path: Any, model_class: Any, config: Any, compiled_path: Any) -> None:
        def stop(*_: object, **__: object) -> None:
            raise _Compiled

        model_class.load = stop
        _say(f"compiling into {compiled_path}")
        compile_and_load(self, path, model_class, config, compiled_path)

    setattr(loader, _COMPILE, only_compile)


@contextmanager
def _devices_listed() -> Iterator[None]:
    """Answer the one pattern by which the plugin looks for devices; nothing else is changed."""
    really = glob.glob

    def answer(pathname: Any, *rest: Any, **options: Any) -> list[Any]:
        found = really(pathname, *rest, **options)
        return found or ["/dev/neuron0"] if pathname == _DEVICES else found

    glob.glob = answer
    try:
        yield
    finally:
        glob.glob = really


def _look_at_models_likewise() -> None:
    """Let vLLM's process that imports the model's class see devices, too.

    What it finds is the same on another platform; but where it fails, its warning that there is no device
    would stand in the log as if it were the reason.
    """
    with suppress(_NoSeam):
        _seam([_MODELS], "_SUBPROCESS_COMMAND")
        registry: Any = sys.modules[_MODELS]
        registry._SUBPROCESS_COMMAND = [sys.executable, os.path.abspath(__file__), _LOOK]


def _seam(modules: list[str], name: str) -> Any:
    """`name` of the first of these modules that is installed and has it. Raises _NoSeam where none does.

    An import that fails inside such a module is a broken installation, and comes through.
    """
    faults = []
    for module in modules:
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise
            faults.append(f"there is no module {error.name}")
            continue
        if hasattr(found, name):
            return getattr(found, name)
        faults.append(f"{module} has no {name}")
    raise _NoSeam(faults[-1])


def _forget_own_folder() -> None:
    """Python puts a script's folder first where it looks for modules; ours has names of its own."""
    own = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [folder for folder in sys.path if os.path.abspath(folder) != own]


def _say(what: str) -> None:
    sys.stderr.write(f"neuronctl: {what}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    # All is written. Threads of the libraries, which would wait for a device's end, are not waited for.
    os._exit(code)
