"""The command line: flags → one call → Result.

Only Typer is imported here; what a command needs is imported when it runs, because `--help` and `plan` are
to start as fast as an empty Typer application.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from neuronctl.cli.bench_app import bench
from neuronctl.cli.options import (
    Address,
    AssumedStack,
    Exposed,
    Force,
    Json,
    LockTimeout,
    Named,
    Policy,
    Port,
    Python,
    Reference,
    References,
    Revision,
    Sets,
    Target,
    address_flags,
    begin,
    named_reference,
    request_of,
)

app = typer.Typer(
    name="neuronctl",
    help="Compile and serve language models with vLLM on AWS Neuron: one profile, one compile, one command.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
profiles = typer.Typer(help="List, show and check profiles.", no_args_is_help=True, rich_markup_mode=None)
cache = typer.Typer(
    help="Look into the store of compiled artifacts.", no_args_is_help=True, rich_markup_mode=None
)
models = typer.Typer(
    help="Look at models, download them, and see which are here.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(bench, name="bench")
app.add_typer(profiles, name="profiles")
app.add_typer(models, name="models")
app.add_typer(cache, name="cache")


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Compile and serve language models with vLLM on AWS Neuron: one profile, one compile, one command."""
    if version:
        import neuronctl
        from neuronctl.result import Result

        number = neuronctl.__version__
        context.obj.result = Result("version", {"version": number}, text=f"neuronctl {number}")
        raise typer.Exit()


@app.command("plan")
def plan_command(
    context: typer.Context,
    reference: Reference = None,
    profile: Named = None,
    python: Python = None,
    target: Target = None,
    stack: AssumedStack = None,
    sets: Sets = None,
    policy: Policy = None,
    host: Address = None,
    port: Port = None,
    allow_public_without_key: Exposed = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Show what would run, on what and why. Nothing is compiled or fetched."""
    call = begin(context, "plan", as_json, passthrough=True)
    from neuronctl.cli.plan import show_plan

    flags = {"artifacts.policy": (policy, "--policy"), **address_flags(host, port)}
    request = request_of(call, reference, profile, python, sets, flags, target, stack, force)
    request = replace(request, public_without_key=allow_public_without_key)
    call.result = show_plan(request, call)


@app.command("compile")
def compile_command(
    context: typer.Context,
    references: References = None,
    profile: Named = None,
    python: Python = None,
    target: Target = None,
    stack: AssumedStack = None,
    sets: Sets = None,
    policy: Policy = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether the artifact is there: exit 0 hit, 10 miss.")
    ] = False,
    jobs: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Of many profiles, compile so many at once.  [1]")
    ] = None,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Compile the other profiles when one fails.")
    ] = False,
    junit: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write a JUnit report with a case for each profile.")
    ] = None,
    lock_timeout: LockTimeout = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Compile profiles into the store, unless their artifacts are there.

    Many are planned first, and compiled once for each key. Words after -- go to vLLM as they are; give serve
    the same ones.
    """
    call = begin(context, "compile", as_json, passthrough=True)
    from neuronctl.cli.compile import check_artifact, run_compile

    flags = {"artifacts.policy": (policy, "--policy")}
    named = list(dict.fromkeys(references or []))
    first = ", ".join(named) if profile else named[0] if named else None
    request = request_of(call, first, profile, python, sets, flags, target, stack, force)
    if len(named) > 1 or jobs or keep_going or junit is not None:
        from neuronctl.cli.compile_many import compile_many
        from neuronctl.precompile.precompile import Way

        requests = [replace(request, reference=one) for one in named or [request.reference]]
        way = Way(jobs or 1, keep_going=keep_going, check=check, lock_timeout_s=lock_timeout)
        call.result = compile_many(requests, call, way, junit=junit)
        return
    call.result = (
        check_artifact(request, call) if check else run_compile(request, call, lock_timeout_s=lock_timeout)
    )


@app.command("serve")
def serve_command(
    context: typer.Context,
    reference: Reference = None,
    profile: Named = None,
    python: Python = None,
    target: Target = None,
    stack: AssumedStack = None,
    sets: Sets = None,
    policy: Policy = None,
    host: Address = None,
    port: Port = None,
    allow_public_without_key: Exposed = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would run, and end.")] = False,
    lock_timeout: LockTimeout = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Serve a profile: find or make its artifact, start vLLM, keep it until ^C.

    Words after -- go to vLLM as they are.
    """
    call = begin(context, "serve", as_json, passthrough=True)
    from neuronctl.cli.serve import dry_run_serve, run_serve

    flags = {"artifacts.policy": (policy, "--policy"), **address_flags(host, port)}
    request = request_of(call, reference, profile, python, sets, flags, target, stack, force)
    request = replace(request, public_without_key=allow_public_without_key)
    call.result = (
        dry_run_serve(request, call) if dry_run else run_serve(request, call, lock_timeout_s=lock_timeout)
    )


@app.command("explain", context_settings={"ignore_unknown_options": True})  # -9 is a code, not an option
def explain_command(
    context: typer.Context,
    source: Annotated[
        str | None,
        typer.Argument(metavar="LOGFILE|CODE|-", help="A log, - for stdin, or a code or id."),
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="Every code and id that is known.")] = False,
    as_json: Json = False,
) -> None:
    """Say what an error in a log, or a code, means and what to do."""
    call = begin(context, "explain", as_json)
    from neuronctl.cli.explain import explain_source, list_known

    call.result = list_known() if list_all else explain_source(source, call)


@app.command("doctor")
def doctor_command(
    context: typer.Context,
    reference: Annotated[
        str | None, typer.Argument(metavar="[PROFILE]", help="Also: can this profile run here, now?")
    ] = None,
    profile: Named = None,
    python: Python = None,
    sets: Sets = None,
    fix: Annotated[bool, typer.Option("--fix", help="Do what is safe about it, after asking.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --fix: do not ask.")] = False,
    bundle: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write all of it to FILE.tar.gz, without secrets.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show cores, memory and servers until ^C.")] = False,
    interval: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0.2, help="With --watch: how often.  [default: 2.0]"),
    ] = None,
    checks: Annotated[
        list[str] | None, typer.Option("--check", metavar="NAME", help="This check only; may be repeated.")
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="List the checks.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Ask nobody on the network.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 1 for warnings, and for checks that could not run.")
    ] = False,
    show_all: Annotated[bool, typer.Option("--all", help="Notes and checks that do not apply, too.")] = False,
    as_json: Json = False,
) -> None:
    """Say what is wrong with this machine and its software, and what to type."""
    call = begin(context, "doctor", as_json)
    from neuronctl.cli.doctor import doctor, refuse_odd_pairs

    is_named = reference is not None or profile is not None
    refuse_odd_pairs(
        {
            "--watch": watch,
            "--list": list_all,
            "--profile": is_named,
            "--python": python is not None,
            "--set": bool(sets),
            "--fix": fix,
            "--yes": yes,
            "--bundle": bundle is not None,
            "--interval": interval is not None,
            "--check": bool(checks),
            "--offline": offline,
            "--strict": strict,
            "--all": show_all,
        }
    )
    # An empty one, as of a variable that is not set, must not pass for none.
    is_asked = is_named or bool(sets) or bool(call.host.environ.get("NEURONCTL_PROFILE"))
    request = request_of(call, reference, profile, python, sets, {}, None, None, False) if is_asked else None
    call.result = doctor(
        call,
        request,
        python,
        only=tuple(checks or ()),
        list_all=list_all,
        offline=offline,
        strict=strict,
        show_all=show_all,
        fix=fix,
        yes=yes,
        bundle=bundle,
        is_watch=watch,
        watch_every_s=interval,
    )


@profiles.command("list")
def profiles_list(context: typer.Context, as_json: Json = False) -> None:
    """List the profiles that have names: in ./profiles, in the user's folder, shipped."""
    call = begin(context, "profiles list", as_json)
    from neuronctl.cli.profiles import list_named

    call.result = list_named(call)


@profiles.command("show")
def profiles_show(
    context: typer.Context,
    reference: Reference = None,
    profile: Named = None,
    sets: Sets = None,
    origins: Annotated[
        bool, typer.Option("--origins", help="Say of each value where it comes from.")
    ] = False,
    pin: Annotated[
        bool, typer.Option("--pin", help="With the commit that the model's branch or tag is now.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show a profile with all that it inherits."""
    call = begin(context, "profiles show", as_json)
    from neuronctl.cli.profiles import show

    named = named_reference(call, reference, profile)
    call.result = show(call, named, tuple(sets or ()), origins=origins, pin=pin)


@profiles.command("validate")
def profiles_validate(
    context: typer.Context,
    references: Annotated[list[str] | None, typer.Argument(metavar="PROFILE...")] = None,
    as_json: Json = False,
) -> None:
    """Check profiles: every mistake with its file, line and key."""
    call = begin(context, "profiles validate", as_json)
    from neuronctl.cli.profiles import validate

    call.result = validate(call, references or [])


@profiles.command("schema")
def profiles_schema(context: typer.Context, as_json: Json = False) -> None:
    """Print the JSON Schema of profiles, for editors; with --json as the data of an answer."""
    call = begin(context, "profiles schema", as_json)
    from neuronctl.cli.profiles import schema

    call.result = schema()


@models.command("show")
def models_show(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="ID|PATH", help="A hub id, or a model's folder.")],
    revision: Revision = None,
    tensors: Annotated[bool, typer.Option("--tensors", help="Each tensor with its type and shape.")] = False,
    as_json: Json = False,
) -> None:
    """Show what a model is. Of one on the hub no weights are fetched."""
    call = begin(context, "models show", as_json)
    from neuronctl.cli.models import show

    call.result = show(call, model, revision, tensors=tensors)


@models.command("download")
def models_download(
    context: typer.Context,
    model: Annotated[str | None, typer.Argument(metavar="[ID]", help="A hub id.")] = None,
    revision: Revision = None,
    profile: Annotated[
        str | None,
        typer.Option("--profile", "-p", metavar="NAME", help="All models that a profile names instead."),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare all that is here with the hub's checksums, and mend it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Download what serving needs of a model into the hub's cache, and take what its branch is now."""
    call = begin(context, "models download", as_json)
    from neuronctl.cli.models import download

    call.result = download(call, model, revision, profile, verify=verify)


@models.command("list")
def models_list(context: typer.Context, as_json: Json = False) -> None:
    """List the models in the hub's cache: whole or not, tied or not, and which profiles serve them."""
    call = begin(context, "models list", as_json)
    from neuronctl.cli.models import list_cached

    call.result = list_cached(call)


@cache.command("list")
def cache_list(context: typer.Context, as_json: Json = False) -> None:
    """List the artifacts, and what is in quarantine."""
    call = begin(context, "cache list", as_json)
    from neuronctl.cli.cache import list_artifacts

    call.result = list_artifacts(call)


@cache.command("show")
def cache_show(context: typer.Context, key: str, as_json: Json = False) -> None:
    """Show an artifact's manifest. KEY may be shortened."""
    call = begin(context, "cache show", as_json)
    from neuronctl.cli.cache import show

    call.result = show(call, key)


@cache.command("verify")
def cache_verify(
    context: typer.Context,
    keys: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY]...", help="All, if none is named.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Names, sizes and times only.")] = False,
    as_json: Json = False,
) -> None:
    """Compare artifacts with their manifests, every byte. Exit 12 if one is damaged."""
    call = begin(context, "cache verify", as_json)
    from neuronctl.cli.cache import verify

    call.result = verify(call, keys or [], quick=quick)


@cache.command("path")
def cache_path(
    context: typer.Context,
    key: Annotated[str | None, typer.Argument(metavar="[KEY]", help="An artifact's key.")] = None,
    as_json: Json = False,
) -> None:
    """Print where the store is, or an artifact's compiled output."""
    call = begin(context, "cache path", as_json)
    from neuronctl.cli.cache import path

    call.result = path(call, key)
