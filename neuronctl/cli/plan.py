"""`neuronctl plan`: a plan as text and as JSON."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from neuronctl.cli.invocation import Invocation
from neuronctl.errors import Exit
from neuronctl.pipeline import Request, plan_request
from neuronctl.result import Result
from neuronctl.secret import hide_in_words, redact

if TYPE_CHECKING:
    from neuronctl.plan.plan import Plan, Setting


def show_plan(request: Request, call: Invocation) -> Result:
    """Make the plan; exit 1 if a finding says that it cannot work."""
    plan = plan_request(request, call.host, tell=call.tell)
    compiled = is_compiled(plan, call)
    return Result(
        command="plan",
        data=describe_plan(plan, compiled),
        exit_code=Exit.ANSWER_IS_NO if plan.errors else Exit.DONE,
        findings=plan.findings,
        text=None if call.as_json else plan_text(plan, compiled),
    )


def describe_plan(plan: Plan, compiled: bool) -> dict[str, object]:
    """The plan as JSON data."""
    command, variables = _command(plan)
    return {
        "profile": {"name": plan.profile.name, "path": str(plan.profile.path)},
        "backend": plan.backend,
        "model": {
            "id": plan.model.id,
            "revision": plan.model.revision,
            "commit": plan.model.commit,
            "source": plan.model.source,
            "path": str(plan.model.path),
            "here": plan.model.here,
            "architecture": plan.model.facts.architecture,
            "tied_embeddings": plan.model.is_tied,
        },
        "machine": {
            "architecture": plan.machine.architecture,
            "cpu": plan.machine.cpu_model,
            "cores": plan.machine.cores,
            "memory_bytes": plan.machine.memory_bytes,
            "instance": plan.machine.instance_name,
            "instance_source": plan.machine.instance_source,
            "lnc": plan.machine.lnc,
            "assumed": plan.machine.assumed,
        },
        "stack": {
            "python": str(plan.stack.python),
            "chosen_by": plan.stack.chosen_by,
            "python_version": plan.stack.python_version,
            "versions": plan.stack.versions,
            "assumed": plan.stack.assumed,
        },
        "engine": _settings(plan.engine),
        "environment": _settings(plan.environment),
        "passthrough": hide_in_words(plan.passthrough),
        "neuron": _outlook_data(plan),
        "files": dict(plan.files),
        "key": plan.key,
        "key_inputs": plan.key_inputs,
        "compiled": compiled,
        "command": list(command),
        "command_environment": variables,
    }


def plan_text(plan: Plan, compiled: bool) -> str:
    """The plan for a person."""
    from neuronctl.cli.facts import machine_text, stack_text
    from neuronctl.cli.render import finding_text
    from neuronctl.cli.table import indented

    facts, machine, stack = plan.model.facts, plan.machine, plan.stack
    model = plan.model.id + (f" {plan.model.revision}" if plan.model.revision else "")
    tied = {True: ", tied embeddings", False: "", None: ""}[plan.model.is_tied]
    here = "" if plan.model.here else ", weights to be prepared"
    if plan.model.config_from != "config.json":
        here += f"; facts from {plan.model.config_from}"
    memory = f", {machine.memory_bytes / 2**30:.1f} GiB" if machine.memory_bytes else ""
    processor = f"{machine.architecture}, {machine.cores} cores{memory}"
    versions = ", ".join(f"{name} {version}" for name, version in stack.versions.items())
    state = "compiled" if compiled else "not compiled yet"
    if plan.profile.shape.artifacts.policy == "never":
        state = "not used (policy never)"
    command, variables = _command(plan)
    engine = dict(plan.engine)
    if plan.outlook is not None:
        engine.pop("additional_config", None)  # its content has a part of its own, and is in the command
    lines = [
        f"{plan.profile.name}: {plan.profile.shape.description or model}",
        "",
        f"profile   {plan.profile.path}",
        f"backend   {plan.backend}",
        f"model     {model} ({facts.architecture}{tied}{here})",
        f"          {plan.model.path}",
        f"machine   {machine_text(machine, plan.outlook) or processor}",
        f"stack     {versions}",
        *([f"          {sdk}"] if (sdk := stack_text(stack)) else []),
        f"          Python {stack.python_version}, {stack.python} ({stack.chosen_by})",
        f"artifact  {plan.key}: {state}",
        "",
        "engine",
        *_table(engine),
        "",
        "environment",
        *_table(plan.environment),
        *_outlook_lines(plan),
        *(line for path, text in plan.files.items() for line in ("", f"file {path}", *indented(text))),
        "",
        "command",
        *(f"  {name}={_quoted(value)} \\" for name, value in variables.items()),
        f"  {_wrapped(command)}",
    ]
    if plan.findings:
        lines += ["", "findings"]
        for finding in plan.findings:
            lines += indented(finding_text(finding, sys.stdout, indent=2))
    return "\n".join(lines)


def _outlook_lines(plan: Plan) -> list[str]:
    """The Neuron part, whose modules are imported only where there is one."""
    if plan.outlook is None:
        return []
    from neuronctl.cli.outlook import outlook_lines

    return outlook_lines(plan.outlook)


def _outlook_data(plan: Plan) -> dict[str, object] | None:
    if plan.outlook is None:
        return None
    from neuronctl.cli.outlook import outlook_data

    return outlook_data(plan.outlook)


def _command(plan: Plan) -> tuple[tuple[str, ...], dict[str, str]]:
    """The exact argv and the variables, secrets hidden."""
    from neuronctl.backends.command import shown_command

    command, variables = shown_command(plan)
    shown = {name: str(redact((name,), value)) for name, value in variables.items()}
    return tuple(hide_in_words(command)), shown


def is_compiled(plan: Plan, call: Invocation) -> bool:
    """Whether the store, or the folder that the user named, has the artifact, unverified."""
    from neuronctl.artifacts.store import Store

    if plan.backend == "nxdi":
        from neuronctl.named_folder import is_filled, named_folder

        if (folder := named_folder(plan, call.host)) is not None:
            return is_filled(folder)
    return (Store.open(call.host).layout.artifact(plan.key) / "manifest.json").is_file()


def _settings(settings: Mapping[str, Setting]) -> dict[str, object]:
    return {
        name: {"value": redact((name,), setting.value), "origin": setting.origin}
        for name, setting in settings.items()
    }


def _table(settings: Mapping[str, Setting]) -> list[str]:
    from neuronctl.cli.table import cell, columns, indented

    rows = [
        (name, cell(redact((name,), setting.value)), setting.origin) for name, setting in settings.items()
    ]
    return indented(columns(rows, widest=40)) if rows else []


def _wrapped(command: tuple[str, ...]) -> str:
    """A command over several lines, one argument a line, that a shell understands."""
    lines: list[str] = []
    for word in command:
        quoted = _quoted(word)
        if lines and not word.startswith("--"):
            lines[-1] += f" {quoted}"
        else:
            lines.append(quoted)
    return " \\\n    ".join(lines)


def _quoted(word: str) -> str:
    import shlex

    return shlex.quote(word)
