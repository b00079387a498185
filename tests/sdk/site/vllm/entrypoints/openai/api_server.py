"""The server: arguments, configuration, engine, then answers until it is asked to stop."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import vllm
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.openai.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.plugins import load_general_plugins
from vllm.usage.usage_lib import UsageContext
from vllm.utils._parser import FlexibleArgumentParser
from vllm.v1.executor.abstract import Executor

_HTTP = Path(__file__).parents[5] / "process" / "stand_in_vllm.py"


def log(who: str, where: str, text: str, level: str = "INFO") -> None:
    """A line as vLLM writes it, for the process named `who`."""
    moment = time.strftime("%m-%d %H:%M:%S")
    line = f"({who} pid={os.getpid()}) {level} {moment} [{where}] {text}"
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - servers speak there


def run_server(args: Any) -> int:
    """Serve until INT or TERM; the exit code."""
    log("APIServer", "api_server.py:1839", f"vLLM API server version {vllm.__version__}")
    model = args.model_tag or args.model
    log("APIServer", "utils.py:233", f"non-default args: {{'model': '{model}'}}")
    engine_args = AsyncEngineArgs.from_cli_args(args)
    config = engine_args.create_engine_config(usage_context=UsageContext.OPENAI_API_SERVER)
    executor = start_engine(config)
    said = loaded(executor)
    if said:
        log("EngineCore_DP0", "stand_in.py:1", f"stand-in: {said}")
    port = args.port
    log(
        "APIServer", "launcher.py:36", f"Starting vLLM API server 0 on http://{args.host or '0.0.0.0'}:{port}"
    )
    http = _load_http()
    served = args.served_model_name[0] if args.served_model_name else model
    key = args.api_key[0] if args.api_key else os.environ.get("VLLM_API_KEY")
    wanted = http.behaviours()
    return int(http.run(http.Server(args.host or "0.0.0.0", port, served, key, wanted), wanted))


def start_engine(config: Any) -> Any:
    """The executor with its model loaded; a failure is told as by the engine's process, then the server's."""
    from vllm.config import set_current_vllm_config

    model = config.model_config.model
    what = f"Initializing a V1 LLM engine (v{vllm.__version__}) with config: model='{model}'"
    log("EngineCore_DP0", "core.py:77", what)
    try:
        with set_current_vllm_config(config):
            return Executor.get_class(config)(config)
    except Exception:
        log("EngineCore_DP0", "core.py:708", "EngineCore failed to start.", "ERROR")
        for line in traceback.format_exc().splitlines():
            log("EngineCore_DP0", "core.py:708", line, "ERROR")
        raise RuntimeError(
            "Engine core initialization failed. See root cause above. Failed core proc(s): {}"
        ) from None


def loaded(executor: Any) -> str | None:
    """What is served, in words that a test can read; None without an accelerator."""
    runner = getattr(executor.driver_worker, "model_runner", None)
    if runner is None:
        return None
    model = runner.model.model
    config = getattr(model.config, "text_config", model.config)
    neuron_config = config.neuron_config
    return (
        f"{'LOADS' if runner.found_artifacts else 'RECOMPILES'} weights={model.weights_loaded} "
        f"tp={neuron_config.tp_degree} batch={neuron_config.batch_size} len={neuron_config.max_length} "
        f"model={getattr(config, '_name_or_path', None)}"
    )


def _load_http() -> Any:
    spec = importlib.util.spec_from_file_location("stand_in_vllm", _HTTP)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> int:
    """The command line."""
    load_general_plugins()
    parser = make_arg_parser(FlexibleArgumentParser(description="vLLM OpenAI-Compatible RESTful API server."))
    args = parser.parse_args()
    validate_parsed_serve_args(args)
    return run_server(args)


if __name__ == "__main__":
    sys.exit(main())
