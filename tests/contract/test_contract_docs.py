"""The docs against the code: exit numbers, error codes, rules, and every command line that is shown."""

from __future__ import annotations

import ast
import fnmatch
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import neuronctl.errors
from neuronctl.cli.app import app
from neuronctl.doctor.all import CHECKS
from neuronctl.doctor.causes import CONSEQUENCES
from neuronctl.doctor.reference import pages
from neuronctl.errors import Exit, NeuronctlError, UsageError
from neuronctl.explain.error_code import error_codes
from neuronctl.explain.reference import errors_page
from neuronctl.rules.all import RULES
from neuronctl.rules.chosen import rules_for
from neuronctl.rules.reference import rules_page
from neuronctl.rules.rule import ALL_BACKENDS

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
PAGES = [REPOSITORY / "README.md", *sorted(DOCS.glob("*.md"))]
# In the design and named in the docs, and not built yet.
PLANNED: set[str] = set()


def table(page: str) -> list[list[str]]:
    """The rows of a page's only table, without its head."""
    lines = [line for line in (DOCS / page).read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_exit_numbers() -> None:
    rows = table("exit-codes.md")
    assert [(row[0], row[1]) for row in rows] == [(str(int(code)), code.name) for code in Exit]
    assert all(all(row) and len(row) == 4 for row in rows)


def codes_in_the_code() -> dict[str, set[int | None]]:
    """Every error code with the exit numbers it comes with; None where a call does not tell."""
    found: dict[str, set[int | None]] = {}
    for path in sorted((REPOSITORY / "neuronctl").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                said = {
                    target.id: statement.value
                    for statement in node.body
                    if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None
                    for target in (
                        statement.targets if isinstance(statement, ast.Assign) else [statement.target]
                    )
                    if isinstance(target, ast.Name)
                }
                code = said.get("code")
                if isinstance(code, ast.Constant) and isinstance(code.value, str) and code.value != "error":
                    base = getattr(neuronctl.errors, ast.unparse(node.bases[0]), UsageError)
                    exit_code = base.exit_code
                    if "exit_code" in said:
                        exit_code = Exit[ast.unparse(said["exit_code"]).removeprefix("Exit.")]
                    found.setdefault(code.value, set()).add(int(exit_code))
            elif isinstance(node, ast.Call):
                is_finding = ast.unparse(node.func) == "Finding"
                for keyword in node.keywords:
                    if keyword.arg != ("id" if is_finding else "code"):
                        continue
                    assert not isinstance(keyword.value, ast.JoinedStr), (
                        f"{path}: a code that is put together"
                    )
                    kind = getattr(neuronctl.errors, ast.unparse(node.func), None)
                    number = int(kind.exit_code) if isinstance(kind, type) else None
                    for part in ast.walk(keyword.value):
                        if isinstance(part, ast.Constant) and isinstance(part.value, str):
                            found.setdefault(part.value, set()).add(number)
    return found


def test_every_error_code_is_explained_with_its_exit_number() -> None:
    explained, used = error_codes(), codes_in_the_code()
    assert set(used) - set(explained) == set(), "write them into neuronctl/explain/error_codes.yaml"
    assert set(explained) - set(used) == set(), "no such code: remove them from error_codes.yaml"
    wrong = {
        code: numbers for code, numbers in used.items() if not numbers - {None} <= {*explained[code].exits}
    }
    assert wrong == {}


def test_the_page_of_errors_is_made_from_what_explain_says() -> None:
    page = (DOCS / "errors.md").read_text(encoding="utf-8")
    assert page.splitlines() == errors_page().splitlines(), "python -m neuronctl.explain.reference"


def test_the_table_of_errors_is_sorted_and_each_says_what_it_means() -> None:
    rows = table("errors.md")
    codes = [row[0].strip("`") for row in rows]
    assert codes == sorted(codes)
    assert len(set(codes)) == len(codes)
    assert all(len(row) == 4 and all(row) for row in rows)


def test_every_class_of_errors_has_a_code_and_an_exit_number_of_its_own() -> None:
    kinds = [
        kind
        for kind in vars(neuronctl.errors).values()
        if isinstance(kind, type) and issubclass(kind, NeuronctlError) and kind is not NeuronctlError
    ]
    assert len(kinds) > 10
    for kind in kinds:
        assert kind.code != NeuronctlError.code, kind
        assert re.fullmatch(r"[a-z]+(\.[a-z-]+)?", kind.code)


def test_the_page_of_rules_is_made_from_the_rules() -> None:
    page = (DOCS / "rules.md").read_text(encoding="utf-8")
    assert page.splitlines() == rules_page().splitlines(), "python -m neuronctl.rules.reference"


def test_every_rule_has_an_id_of_its_own_and_says_what_it_finds() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)
    for rule in RULES:
        what = (rule.look.__doc__ or "").strip()
        assert what.split("\n\n")[0].rstrip().endswith("."), rule.id
        assert rule.source, rule.id


@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_a_plan_is_looked_at_by_every_rule_about_its_backend(backend: str) -> None:
    assert rules_for(backend) == tuple(rule for rule in RULES if backend in rule.backends)


def test_every_link_between_the_pages_leads_somewhere() -> None:
    missing = []
    for page in [*PAGES, *sorted((REPOSITORY / "benchmarks").glob("*.md")), REPOSITORY / "CHANGELOG.md"]:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                missing.append(f"{page.name}: {target}")
    assert missing == []


def command_lines(text: str) -> Iterator[list[str]]:
    """The words of every `neuronctl …` line of a page, in blocks of code and in the text."""
    fence = r"^```[a-z]*\n(.*?)^```"
    blocks = re.findall(fence, text, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(fence, "", text, flags=re.MULTILINE | re.DOTALL))
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    for line in [*lines, *inline]:
        # What a shell ends a command with, where it is not quoted.
        for part in re.split(r"""(?:\$\(|\)|[;|&>])(?=(?:[^"']|"[^"]*"|'[^']*')*$)""", line):
            if "neuronctl" not in part:
                continue
            words = shlex.split(part.strip().removeprefix("$ "), comments=True)
            while words and re.match(r"[A-Z_]+=", words[0]):
                words = words[1:]
            if len(words) > 1 and (words[0] == "neuronctl" or words[0].endswith("/bin/neuronctl")):
                yield words[1:]


def parse(words: list[str]) -> str:
    """Let the command line parse these words; the command's name. Raises typer's own errors."""
    if "--" in words:
        words = words[: words.index("--")]
    command: Any = typer.main.get_command(app)
    path = []
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        if words[0] not in command.commands:
            raise LookupError(f"no command {' '.join([*path, words[0]])}")
        path.append(words[0])
        command, words = command.commands[words[0]], words[1:]
    if not hasattr(command, "commands") and "--help" not in words:
        command.make_context(" ".join(path), list(words))
    return " ".join(path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_line_that_is_shown_can_be_typed(page: Path) -> None:
    wrong = []
    for words in command_lines(page.read_text(encoding="utf-8")):
        if words[0] in PLANNED:
            continue
        try:
            parse(words)
        except Exception as error:
            wrong.append(f"neuronctl {' '.join(words)}: {error!r}")
    assert wrong == []


def test_the_docs_show_command_lines_at_all() -> None:
    shown = [
        parse(words)
        for page in PAGES
        for words in command_lines(page.read_text(encoding="utf-8"))
        if words[0] not in PLANNED
    ]
    assert {"plan", "compile", "serve", "profiles list", "cache path"} <= set(shown)


@pytest.mark.parametrize(
    "line",
    [
        "neuronctl serv x",
        "neuronctl plan --no-such-option x",
        "neuronctl cache",
        "neuronctl plan a b",
        "neuronctl cache show",
    ],
)
def test_a_command_line_that_cannot_be_typed_is_noticed(line: str) -> None:
    (words,) = command_lines(f"```\n{line}\n```\n")
    if line == "neuronctl cache":
        assert parse(words) == "cache"
        return
    with pytest.raises(Exception, match=r"(?i)no command|no such option|unexpected extra|missing"):
        parse(words)


def test_every_command_line_that_an_error_suggests_can_be_typed() -> None:
    suggested = []
    for path in sorted((REPOSITORY / "neuronctl").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "fix" and isinstance(node.value, ast.Constant):
                line = str(node.value.value).partition("  ")[0]
                suggested += list(command_lines(f"`{line}`")) if line.startswith("neuronctl ") else []
    assert len(suggested) > 2
    for words in suggested:
        assert parse(words)


def test_what_is_planned_is_not_there_yet() -> None:
    command: Any = typer.main.get_command(app)
    assert PLANNED.isdisjoint(command.commands)


def test_make_has_the_targets_that_the_docs_name() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    named = {
        target
        for page in PAGES
        for code in re.findall(r"`+([^`]+)`+", page.read_text(encoding="utf-8"))
        for target in re.findall(r"(?:^|\n)make ([a-z]+)", code)
    }
    assert {"serve", "test"} <= named
    assert named <= targets


def test_the_pages_of_doctor_s_checks_are_those_of_the_program() -> None:
    wanted = pages()
    found = {path.name: path.read_text(encoding="utf-8") for path in (DOCS / "doctor").glob("*.md")}
    assert found == wanted, "python -m neuronctl.doctor.reference"


def test_what_doctor_s_checks_hide_is_found_by_something() -> None:
    """A cause or a consequence that nothing finds any more is a mistake in the table."""
    known = {trouble.id for one in CHECKS for trouble in one.finds} | {rule.id for rule in RULES}
    known |= error_codes().keys()
    for cause, hidden in CONSEQUENCES.items():
        assert cause in known, cause
        for pattern in hidden:
            assert any(fnmatch.fnmatchcase(one, pattern) for one in known), f"{cause}: {pattern}"
