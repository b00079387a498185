"""The server's arguments."""

from __future__ import annotations

import argparse
import json

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.utils._parser import FlexibleArgumentParser

_VALUES = (
    "chat-template",
    "chat-template-content-format",
    "host",
    "log-config-file",
    "lora-modules",
    "reasoning-parser",
    "response-role",
    "root-path",
    "ssl-certfile",
    "ssl-keyfile",
    "tool-call-parser",
    "tool-parser-plugin",
    "uvicorn-log-level",
)
_SWITCHES = (
    "disable-fastapi-docs",
    "disable-frontend-multiprocessing",
    "disable-uvicorn-access-log",
    "enable-auto-tool-choice",
    "enable-log-requests",
    "enable-prompt-tokens-details",
    "enable-server-load-tracking",
)


def make_arg_parser(parser: FlexibleArgumentParser) -> FlexibleArgumentParser:
    """Add all arguments of the server and of the engine."""
    parser.add_argument("model_tag", nargs="?")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--api-key", nargs="*")
    parser.add_argument("--allowed-origins", type=json.loads)
    for name in _VALUES:
        parser.add_argument(f"--{name}", nargs="+" if name == "lora-modules" else None)
    for name in _SWITCHES:
        parser.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, default=False)
    return AsyncEngineArgs.add_cli_args(parser)


def validate_parsed_serve_args(args: argparse.Namespace) -> None:
    """What the parser cannot see."""
    if args.enable_auto_tool_choice and not args.tool_call_parser:
        raise TypeError("Error: --enable-auto-tool-choice requires --tool-call-parser")
