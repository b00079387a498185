"""Options that several commands have, and what they say together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from neuronctl.cli.invocation import Invocation

if TYPE_CHECKING:
    from neuronctl.pipeline import Request

Reference = Annotated[
    str | None, typer.Argument(metavar="[PROFILE]", help="A profile: a path such as model.yaml, or a name.")
]
References = Annotated[
    list[str] | None,
    typer.Argument(metavar="[PROFILE]...", help="Profiles: paths such as profiles/*.yaml, or names."),
]
Named = Annotated[str | None, typer.Option("--profile", "-p", metavar="NAME", help="The same, as an option.")]
Python = Annotated[
    str | None,
    typer.Option(metavar="PATH", help="The serving Python, which has vLLM.  [env: NEURONCTL_PYTHON]"),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set a profile key, as in engine.max_model_len=1024."),
]
Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on stdout.")]
Policy = Annotated[
    str | None,
    typer.Option(metavar="auto|cached-only|always|never", help="Whether compiling is allowed."),
]
Address = Annotated[str | None, typer.Option("--host", metavar="ADDRESS", help="Where to listen.")]
Port = Annotated[int | None, typer.Option(metavar="PORT", help="The port to listen on.")]
Exposed = Annotated[
    bool,
    typer.Option(
        "--allow-public-without-key", help="Listen on other than loopback although there is no API key."
    ),
]
Target = Annotated[
    str | None,
    typer.Option("--target", metavar="INSTANCE", help="Plan for this instance type, not for this machine."),
]
AssumedStack = Annotated[
    str | None,
    typer.Option("--stack", metavar="SDK", help="Assume this Neuron SDK, as in sdk-2.28, is installed."),
]
Force = Annotated[
    bool,
    typer.Option(
        "--force", help="Go on where only an estimate, or advice that nothing enforces, speaks against it."
    ),
]
Revision = Annotated[
    str | None, typer.Option(metavar="REVISION", help="A branch, a tag or a commit; main if none is named.")
]
LockTimeout = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS", min=0, help="How long to wait for another process that compiles the same."
    ),
]


def begin(context: typer.Context, command: str, as_json: bool, *, passthrough: bool = False) -> Invocation:
    call: Invocation = context.find_root().obj
    call.begin(command, as_json=as_json, takes_passthrough=passthrough)
    return call


def named_reference(call: Invocation, reference: str | None, named: str | None) -> str:
    from neuronctl.errors import UsageError

    if reference and named and reference != named:
        raise UsageError(f"two profiles are named: {reference} and --profile {named}", fix="name one of them")
    found = reference or named or call.host.environ.get("NEURONCTL_PROFILE")
    if not found:
        raise UsageError(
            "no profile is named",
            fix=f"neuronctl {call.command} --profile smollm2-cpu  (neuronctl profiles list names them all)",
        )
    return found


def address_flags(host: str | None, port: int | None) -> dict[str, tuple[object, str]]:
    return {"server.host": (host, "--host"), "server.port": (port, "--port")}


def request_of(
    call: Invocation,
    reference: str | None,
    named: str | None,
    python: str | None,
    sets: list[str] | None,
    flags: Mapping[str, tuple[object, str]],
    target: str | None,
    stack: str | None,
    force: bool,
) -> Request:
    """What plan, compile and serve have in common; `flags` are profile keys that have a flag of their own."""
    from neuronctl.pipeline import Request

    return Request(
        reference=named_reference(call, reference, named),
        python=python,
        sets=tuple(sets or ()),
        flags={key: (value, flag) for key, (value, flag) in flags.items() if value is not None},
        passthrough=call.passthrough,
        target=target,
        stack=stack,
        force=force,
    )
