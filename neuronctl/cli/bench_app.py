"""The command line of `neuronctl bench`."""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING, Annotated

import typer

from neuronctl.cli.options import AssumedStack, Json, Policy, Python, Sets, begin, request_of

if TYPE_CHECKING:
    from neuronctl.pipeline import Request

bench = typer.Typer(
    help="Measure a served model the way its users feel it; compare results; draw them.",
    rich_markup_mode=None,
    invoke_without_command=True,
    no_args_is_help=True,
)

# Parameters that mean nothing: what is typed is refused, not passed over.
_IDLE = {
    "with --profile": {"model"},
    "with --url": {"sets", "policy", "cold"},
    "with --engine guidellm": {"python"},
    "without --pictures": {"picture_format"},
    "without --profile": {"sets", "stack"},
}
_OF_A_SELF_TEST = {"self_test", "engine", "engine_python", "python", "as_json"}
Engine = Annotated[
    str, typer.Option(metavar="vllm|guidellm", help="What sends the requests: vllm bench serve, or guidellm.")
]
EnginePython = Annotated[
    str | None,
    typer.Option(metavar="PATH", help="The Python of the engine, where it is not the serving Python."),
]
Result_ = Annotated[str, typer.Argument(metavar="RESULT", help="A file that bench wrote.")]


@bench.callback()
def bench_command(
    context: typer.Context,
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile",
            "-p",
            metavar="NAME",
            help="Serve this profile and measure it, or where it runs already.",
        ),
    ] = None,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Measure a server that runs, whatever started it.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="With --url: the model, as that server calls it.")
    ] = None,
    max_concurrency: Annotated[
        str | None, typer.Option(metavar="N[,N…]", help="Requests at once; each number is a point.")
    ] = None,
    request_rate: Annotated[
        str | None, typer.Option(metavar="R[,R…]", help="Requests a second; each number is a point.")
    ] = None,
    input_len: Annotated[
        str | None, typer.Option(metavar="N[,N…]", help="Tokens of a prompt; each number is a point.")
    ] = None,
    output_len: Annotated[
        str | None, typer.Option(metavar="N[,N…]", help="Tokens of an answer; each number is a point.")
    ] = None,
    prefix_len: Annotated[
        int | None, typer.Option(metavar="N", help="Tokens that all prompts begin with (shared-prefix).")
    ] = None,
    num_prompts: Annotated[int | None, typer.Option(metavar="N", help="Requests of a run.")] = None,
    repeats: Annotated[
        int | None, typer.Option(metavar="N", help="Runs of each point; 3 if not said.")
    ] = None,
    dataset_name: Annotated[
        str | None,
        typer.Option(metavar="random|shared-prefix|jsonl|sharegpt", help="Where prompts come from."),
    ] = None,
    dataset_path: Annotated[
        str | None, typer.Option(metavar="FILE", help="The prompts, for jsonl and sharegpt.")
    ] = None,
    api: Annotated[
        str | None, typer.Option(metavar="completions|chat", help="Which endpoint is asked.")
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Of random prompts.")] = None,
    ignore_eos: Annotated[
        bool | None,
        typer.Option("--ignore-eos/--no-ignore-eos", help="Whether answers are as long as asked for."),
    ] = None,
    goodput: Annotated[
        str | None,
        typer.Option(
            metavar="ttft:MS,tpot:MS,e2el:MS", help="What counts as a good answer, in milliseconds."
        ),
    ] = None,
    price_per_hour: Annotated[
        float | None, typer.Option(metavar="USD", help="What the instance costs, for the cost of tokens.")
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(metavar="FOLDER|ID", help="What counts tokens; the model's own if not said.")
    ] = None,
    engine: Engine = "vllm",
    engine_python: EnginePython = None,
    python: Python = None,
    sets: Sets = None,
    policy: Policy = None,
    cold: Annotated[
        bool, typer.Option("--cold", help="Compile anew first, and start twice: both starts are measured.")
    ] = False,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Where the result goes.")
    ] = None,
    report: Annotated[
        str | None, typer.Option(metavar="FILE.html", help="Draw the result as one page, too.")
    ] = None,
    raw: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Where the engine's own files go.")
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(metavar="RESULT", help="The result that --fail-on compares with.")
    ] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(metavar="CONDITION", help="End with 1 if so, as in 'ttft_p95>+10%' or 'error_rate>0'."),
    ] = None,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Measure the client itself against a server of known times.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure a served model the way its users feel it; compare results; draw them."""
    if context.invoked_subcommand is not None:
        _refuse(context, f"before {context.invoked_subcommand}", set(context.params))
        return
    call = begin(context, "bench", as_json)
    from neuronctl.cli import bench as commands
    from neuronctl.errors import UsageError

    flags = commands.flags_of(
        max_concurrency=max_concurrency,
        request_rate=request_rate,
        input_len=input_len,
        output_len=output_len,
        prefix_len=prefix_len,
        num_prompts=num_prompts,
        repeats=repeats,
        dataset_name=dataset_name,
        dataset_path=dataset_path,
        api=api,
        seed=seed,
        ignore_eos=ignore_eos,
        goodput=goodput,
        price_per_hour=price_per_hour,
    )
    client = commands.Client(engine, engine_python, tokenizer)
    wanted = commands.Wanted(output, report, baseline, tuple(fail_on or ()), raw)
    if sum((profile is not None, url is not None, self_test)) != 1:
        raise UsageError(
            "one of --profile, --url and --self-test says what is measured",
            fix="neuronctl bench --profile NAME  (neuronctl bench --help tells the rest)",
        )
    if self_test:
        _refuse(context, "with --self-test", set(context.params) - _OF_A_SELF_TEST)
    else:
        _refuse(context, "with --url" if url is not None else "with --profile")
    if engine == "guidellm" and profile is None:
        _refuse(context, "with --engine guidellm")
    if self_test:
        call.result = commands.self_test(call, client, python)
    elif url is not None:
        call.result = commands.bench_url(call, url, model, flags, wanted, client, python)
    else:
        flags |= {"artifacts.policy": (policy, "--policy")}
        request = request_of(call, profile, None, python, sets, flags, None, None, False)
        call.result = commands.bench_profile(call, request, wanted, client, cold=cold)


def _refuse(context: typer.Context, where: str, idle: Set[str] | None = None) -> None:
    """Raise UsageError where one of these parameters was typed; those of the table if none are said."""
    from neuronctl.errors import UsageError

    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if name in (_IDLE[where] if idle is None else idle) and source and source.name == "COMMANDLINE":
            option = parameter.opts[0]
            raise UsageError(f"{option} means nothing {where}", fix=f"leave {option} out")


@bench.command("compare")
def compare_command(
    context: typer.Context,
    before: Annotated[str, typer.Argument(metavar="A", help="A result.")],
    after: Annotated[str, typer.Argument(metavar="B", help="Another, of the same loads.")],
    as_json: Json = False,
) -> None:
    """Say what changed from one result to another, noise taken into account."""
    call = begin(context, "bench compare", as_json)
    from neuronctl.cli.bench import compare_results

    call.result = compare_results(call, before, after)


@bench.command("report")
def report_command(
    context: typer.Context,
    result: Result_,
    html: Annotated[
        str | None, typer.Option(metavar="FILE.html", help="Write one page with pictures.")
    ] = None,
    pictures: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Write each picture as a file of its own.")
    ] = None,
    picture_format: Annotated[
        str, typer.Option("--format", metavar="svg|png", help="Of the pictures.")
    ] = "svg",
    as_json: Json = False,
) -> None:
    """Show a result: in the terminal, as a page, as pictures."""
    call = begin(context, "bench report", as_json)
    if pictures is None:
        _refuse(context, "without --pictures")
    from neuronctl.cli.bench import report_result

    call.result = report_result(call, result, html, pictures, picture_format)


@bench.command("advise")
def advise_command(
    context: typer.Context,
    result: Result_,
    prompts: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Lengths of your own requests: lines of input and output tokens."),
    ] = None,
    named: Annotated[
        str | None,
        typer.Option("--profile", "-p", metavar="NAME", help="Estimate memory by this profile's plan."),
    ] = None,
    sets: Sets = None,
    stack: AssumedStack = None,
    as_json: Json = False,
) -> None:
    """Say which settings a result speaks for, what they bring and what they cost."""
    call = begin(context, "bench advise", as_json)
    if named is None:
        _refuse(context, "without --profile")
    from neuronctl.cli.bench import advise_result

    def request_for(instance: str | None) -> Request:
        return request_of(call, None, named, None, sets, {}, instance, stack, False)

    call.result = advise_result(call, result, prompts, request_for if named is not None else None)
