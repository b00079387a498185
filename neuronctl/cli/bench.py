"""`neuronctl bench`."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import to_builtins

from neuronctl.bench.benchmark import benchmark_profile, benchmark_url
from neuronctl.bench.preflight import base_url
from neuronctl.bench.result_file import read_result, write_result
from neuronctl.bench.schema import BenchResult
from neuronctl.bench.story import Tools
from neuronctl.bench.written_file import check_place, write_file
from neuronctl.cli.invocation import Invocation
from neuronctl.errors import Exit, UsageError
from neuronctl.result import Message, Result

if TYPE_CHECKING:
    from neuronctl.bench.engine import LoadEngine
    from neuronctl.bench.gate import Judged
    from neuronctl.neuron.estimate import Estimate
    from neuronctl.pipeline import Request
    from neuronctl.profile.schema import BenchSection


_LISTS = ("max_concurrency", "request_rate", "input_len", "output_len")


@dataclass(frozen=True)
class Wanted:
    """What is to be done with a result besides measuring it."""

    output: str | None = None
    report: str | None = None
    baseline: str | None = None
    fail_on: tuple[str, ...] = ()
    raw: str | None = None


@dataclass(frozen=True)
class Client:
    """What sends the requests."""

    engine: str
    python: str | None
    tokenizer: str | None

    def python_or(self, serving: str | None) -> str | None:
        """The engine's Python; for vllm the serving Python unless another is named."""
        return self.python or (serving if self.engine == "vllm" else None)


def flags_of(**said: object) -> dict[str, tuple[object, str]]:
    """Profile keys of `bench` with their values and the flags that said them. Raises UsageError."""
    flags: dict[str, tuple[object, str]] = {}
    for name, value in said.items():
        flag = "--" + name.replace("_", "-")
        if value is None:
            continue
        if name == "goodput":
            flags |= {f"bench.goodput.{key}": (ms, flag) for key, ms in _goodput(str(value)).items()}
        elif name in _LISTS:
            flags[f"bench.{name}"] = (_numbers(str(value), flag, whole=name != "request_rate"), flag)
        else:
            flags[f"bench.{name}"] = (value, flag)
    return flags


def result_name(reference: str) -> str:
    """How a result's file begins: the profile's name, of which only an ending of YAML is cut off."""
    return Path(reference).name.removesuffix(".yaml").removesuffix(".yml")


def bench_profile(
    call: Invocation, request: Request, wanted: Wanted, client: Client, *, cold: bool
) -> Result:
    """Measure a profile."""
    after = _After(call, wanted, result_name(request.reference))
    tools = _tools(call, after, client, client.python_or(request.python))
    return after.finish(benchmark_profile(request, tools, cold=cold))


def bench_url(
    call: Invocation,
    url: str,
    model: str | None,
    flags: Mapping[str, tuple[object, str]],
    wanted: Wanted,
    client: Client,
    python: str | None,
) -> Result:
    """Measure a server that runs, whoever started it."""
    if not model:
        raise UsageError("--url wants --model too", fix="--model NAME, as the server's /v1/models says")
    section = _section(flags)
    after = _After(call, wanted, "url")
    tools = _tools(call, after, client, client.python_or(python))
    return after.finish(benchmark_url(base_url(url), model, section, tools))


def self_test(call: Invocation, client: Client, python: str | None) -> Result:
    """Hold the client against the reference server."""
    from neuronctl.bench.self_test import run_self_test

    folder = _raw_folder(call, None)
    folder.mkdir(parents=True, exist_ok=True)
    with _engine(client.engine).open(call.host, python=client.python_or(python), folder=folder) as session:
        tested = run_self_test(session, folder, tell=call.tell)
    return Result("bench", tested.as_data(), text=None if call.as_json else tested.text)


def compare_results(call: Invocation, before: str, after: str) -> Result:
    """The changes between two results."""
    from neuronctl.bench.compare import compare
    from neuronctl.bench.compare_text import comparison_data, comparison_text

    found = compare(read_result(_path(call, before)), read_result(_path(call, after)))
    text = None if call.as_json else comparison_text(found, _width())
    code = Exit.DONE if found.is_comparable else Exit.ANSWER_IS_NO
    return Result("bench compare", comparison_data(found), text=text, exit_code=code)


def report_result(
    call: Invocation, source: str, html: str | None, pictures: str | None, format_: str
) -> Result:
    """Draw a result that is there already."""
    if format_ not in ("svg", "png"):
        raise UsageError(f"pictures cannot be {format_}", fix="--format svg, or --format png")
    result = read_result(_path(call, source))
    written = []
    if html is not None:
        written.append(_write_report(call, result, html))
    if pictures is not None:
        written += _write_pictures(call, result, pictures, format_)
    text = _text(result) if not written else "\n".join(f"wrote {path}" for path in written)
    return Result("bench report", {"written": written}, text=None if call.as_json else text)


def advise_result(
    call: Invocation, source: str, prompts: str | None, request_for: Callable[[str | None], Request] | None
) -> Result:
    """What a result and the lengths of one's own prompts speak for.

    `request_for` gives the request for the profile, planned for an instance type; None without a profile.
    """
    from neuronctl.bench.advice import advise
    from neuronctl.bench.advice_text import advice_data, advice_text
    from neuronctl.bench.lengths import read_lengths

    result = read_result(_path(call, source))
    lengths = read_lengths(_path(call, prompts)) if prompts else ()
    estimate = _estimate(call, result, request_for(result.target.instance)) if request_for else None
    found = advise(result, lengths, estimate)
    text = None if call.as_json else advice_text(found, _width())
    return Result("bench advise", advice_data(found), text=text)


def _estimate(call: Invocation, result: BenchResult, request: Request) -> Estimate | None:
    """The plan's estimate of memory. Raises UsageError for a profile that compiles another shape."""
    from neuronctl.bench.target import shape_of
    from neuronctl.pipeline import plan_request

    plan = plan_request(request, call.host, tell=call.tell)
    shape, target = shape_of(plan), result.target
    if not target.started_here:
        raise UsageError(
            "the result is of a server that ran already, so it is not known what was compiled for it",
            fix="leave --profile out, or measure with neuronctl bench --profile, which starts the server",
        )
    if (shape.batch, shape.max_model_len) != (target.batch, target.max_model_len):
        raise UsageError(
            f"the plan of {plan.profile.name} has a batch of {shape.batch} and max_model_len "
            f"{shape.max_model_len}, the result a batch of {target.batch} and {target.max_model_len}",
            fix=f"--profile {target.profile or 'NAME'}, as it was when the result was measured",
        )
    return plan.outlook.estimate if plan.outlook else None


class _After:
    """What is looked at before a long measurement, and done after it."""

    def __init__(self, call: Invocation, wanted: Wanted, name: str) -> None:
        from neuronctl.bench.condition import parse_conditions

        self.call, self.wanted = call, wanted
        self.conditions = parse_conditions(wanted.fail_on)
        self.baseline = read_result(_path(call, wanted.baseline)) if wanted.baseline else None
        if wanted.baseline and not self.conditions:
            raise UsageError(
                "--baseline without --fail-on fails nothing",
                fix='--fail-on "ttft_p95>+10%", or neuronctl bench compare BASELINE RESULT',
            )
        if any(one.is_relative for one in self.conditions) and self.baseline is None:
            raise UsageError("a change in percent wants a baseline", fix="--baseline FILE")
        if wanted.report:
            from neuronctl.bench.picture import check_pictures

            check_pictures()
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self.output = _path(call, wanted.output or f"bench/{name}-{stamp}.json")
        check_place(self.output)
        if wanted.report:
            check_place(_path(call, wanted.report))

    def keep_partial(self, result: BenchResult) -> None:
        """Write what there is."""
        self._keep(result)
        self.call.tell(Message(f"what was measured until then is kept in {self.output}", "warn"))

    def finish(self, result: BenchResult) -> Result:
        """Write, draw, hold against the baseline."""
        from neuronctl.bench.gate import judge

        self._keep(result)
        data: dict[str, object] = {"file": str(self.output), "result": to_builtins(result)}
        if self.wanted.report:
            data["report"] = _write_report(self.call, result, self.wanted.report)
        judged = judge(result, self.conditions, self.baseline)
        data |= to_builtins(judged)
        return Result(
            "bench",
            data,
            exit_code=Exit.ANSWER_IS_NO if judged.breaches else Exit.DONE,
            text=None if self.call.as_json else self._text(result, judged),
        )

    def _keep(self, result: BenchResult) -> None:
        """Write the result; where it has no place any more, into a temporary folder, and raise."""
        import tempfile

        from neuronctl.errors import MachineUnfit

        try:
            write_result(self.output, result)
        except MachineUnfit as error:
            kept = Path(tempfile.mkdtemp(prefix="neuronctl-bench-")) / self.output.name
            write_result(kept, result)
            raise MachineUnfit(
                f"{error.what}; it is kept in {kept}", fix=f"cp {kept} ELSEWHERE", code="bench.not-written"
            ) from error

    def _text(self, result: BenchResult, judged: Judged) -> str:
        lines = [_text(result), "", f"result: {self.output}"]
        if self.wanted.report:
            lines.append(f"report: {_path(self.call, self.wanted.report)}")
        if self.conditions:
            told = [f"✗ {one.text}" for one in judged.breaches] + [f"? {one.text}" for one in judged.doubts]
            lines += ["", *(told or ["✓ no condition is broken"])]
        return "\n".join(lines)


def _tools(call: Invocation, after: _After, client: Client, python: str | None) -> Tools:
    folder = _path(call, client.tokenizer) if client.tokenizer else None
    return Tools(
        _engine(client.engine),
        call.host,
        call.tell,
        _raw_folder(call, after.wanted.raw),
        after.keep_partial,
        python=python,
        tokenizer=str(folder) if folder and folder.is_dir() else client.tokenizer,
    )


def _numbers(text: str, flag: str, *, whole: bool) -> list[int] | list[float]:
    try:
        return [int(one) for one in text.split(",")] if whole else [float(one) for one in text.split(",")]
    except ValueError:
        raise UsageError(
            f"{flag} {text}: numbers with commas between are wanted", fix=f"{flag} 1,4,16"
        ) from None


def _goodput(text: str) -> dict[str, float]:
    limits = {}
    for part in text.replace(" ", ",").split(","):
        name, _, value = part.partition(":")
        try:
            if name not in ("ttft", "tpot", "e2el"):
                raise ValueError
            limits[name] = float(value)
        except ValueError:
            fix = "--goodput ttft:200,tpot:50"
            raise UsageError(f"--goodput {text}: {part!r} is no limit in milliseconds", fix=fix) from None
    return limits


def _engine(name: str) -> LoadEngine:
    if name not in ("vllm", "guidellm"):
        raise UsageError(f"there is no engine {name!r}", fix="--engine vllm, or --engine guidellm")
    if name == "guidellm":
        from neuronctl.bench.guidellm_engine import GuidellmEngine

        return GuidellmEngine()
    from neuronctl.bench.vllm_engine import VllmEngine

    return VllmEngine()


def _raw_folder(call: Invocation, said: str | None) -> Path:
    if said is not None:
        return _path(call, said)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    import os

    return call.host.neuronctl_home / "bench" / f"{stamp}-{os.getpid()}"


def _section(flags: Mapping[str, tuple[object, str]]) -> BenchSection:
    """The settings that flags say, without a profile. Raises UsageError."""
    import msgspec

    from neuronctl.profile.kind import fields_of, in_words
    from neuronctl.profile.schema import BenchSection

    data: dict[str, object] = {}
    for key, (value, flag) in flags.items():
        name = key.removeprefix("bench.")
        section: dict[str, object] = data
        if "." in name:
            outer, name = name.split(".")
            section = data.setdefault(outer, {})  # type: ignore[assignment]
        section[name] = value
        try:
            msgspec.convert(data, BenchSection)
        except msgspec.ValidationError:
            path = tuple(key.removeprefix("bench.").split("."))
            wanted = next(in_words(one.annotation) for one in fields_of(BenchSection) if one.path == path)
            raise UsageError(f"{flag}: {wanted} is wanted", fix="neuronctl bench --help") from None
    return msgspec.convert(data, BenchSection)


def _write_report(call: Invocation, result: BenchResult, said: str) -> str:
    from neuronctl.bench.report import report_html

    path = _path(call, said)
    write_file(path, report_html(result).encode())
    return str(path)


def _write_pictures(call: Invocation, result: BenchResult, said: str, format_: str) -> list[str]:
    from neuronctl.bench.picture import chart_files

    folder = _path(call, said)
    written = []
    for name, content in chart_files(result, "png" if format_ == "png" else "svg").items():
        write_file(folder / name, content)
        written.append(str(folder / name))
    return written


def _path(call: Invocation, said: str) -> Path:
    return call.host.expand(said)


def _width() -> int:
    return shutil.get_terminal_size().columns


def _text(result: BenchResult) -> str:
    from neuronctl.bench.terminal import terminal_text
    from neuronctl.cli.render import paint

    return terminal_text(result, _width(), paint=lambda text, colour: paint(text, colour, sys.stdout))
