"""Which part may know which: the layers, and what neuronctl must never import."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "neuronctl"

# From top to bottom. A part may import parts of lower layers only; parts that share a layer do not know each
# other, unless they stand in one set. A part is a package or module of neuronctl; `model` means all in it.
LAYERS: tuple[tuple[set[str], ...], ...] = (
    ({"__main__"},),
    ({"cli"},),
    ({"precompile"}, {"doctor"}, {"bench"}),
    ({"pipeline"},),
    ({"launching"},),
    ({"compiling"},),
    ({"named_folder"},),
    ({"building"},),
    ({"serving"},),
    ({"backends"}, {"artifacts"}),
    ({"plan"},),
    ({"rules"},),
    ({"neuron"}, {"explain"}),
    ({"model"}, {"machine"}, {"stack"}),
    ({"profile"},),
    ({"runs"}, {"child", "child_log", "child_guard"}, {"linker"}),
    ({"host"}, {"redaction"}, {"time_limit"}),
    ({"errors", "result"}, {"secret"}, {"yaml_data"}, {"typed"}, {"digest"}, {"whole_file"}, {"page_marks"}),
    ({"short_command"},),
    ({"process_group"},),
    ({"__init__"},),
)
PLACES = {part: (height, group) for height, layer in enumerate(LAYERS) for group in layer for part in group}

# What costs seconds to import, or belongs to the serving Python with its own versions. Whole files that run
# there as children are the exception.
NEVER = {"vllm", "torch", "transformers", "numpy", "gguf", "safetensors", "neuronx_distributed", "pydantic"}
CHILD_SCRIPTS = {
    "model/gguf_weights.py",
    "child_guard.py",
    "backends/nxdi_child.py",
    "bench/vllm_child.py",
    "bench/reference_server.py",
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def part_of(module: str) -> str:
    """The part that a module's dotted name belongs to."""
    words = module.split(".")
    return words[1] if len(words) > 1 else "__init__"


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, at any level, for its types too; with the line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            assert node.module is not None
            if node.module == "neuronctl":
                yield from ((f"neuronctl.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield node.module, node.lineno
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name.endswith(("import_module", "__import__")) and isinstance(node.args[0], ast.Constant):
                yield str(node.args[0].value), node.lineno


def test_every_part_has_its_place() -> None:
    parts = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in modules()}
    assert parts == set(PLACES), "a part without a place in LAYERS, or a place without a part"


def test_imports_go_one_way() -> None:
    wrong = []
    for path in modules():
        importer = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        height, group = PLACES[importer]
        for module, line in imported(path):
            if module.split(".")[0] != "neuronctl":
                continue
            part = part_of(module)
            below, _ = PLACES[part]
            if part not in group and below <= height:
                wrong.append(f"{path.relative_to(PACKAGE)}:{line} imports {module}")
    assert wrong == []


def test_neuronctl_never_imports_what_belongs_to_the_serving_python() -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line} imports {module}"
        for path in modules()
        if str(path.relative_to(PACKAGE)) not in CHILD_SCRIPTS
        for module, line in imported(path)
        if module.split(".")[0] in NEVER
    ]
    assert wrong == []


def test_children_that_run_in_another_python_do_not_import_neuronctl() -> None:
    for script in CHILD_SCRIPTS:
        names = {module.split(".")[0] for module, _ in imported(PACKAGE / script)}
        assert "neuronctl" not in names, script


def test_stdout_has_one_writer() -> None:
    """Only `cli/render.py` writes answers; children and `--version` speak for themselves."""
    allowed = {"cli/render.py", "__main__.py", "bench/reference_server.py", *CHILD_SCRIPTS}
    wrong = []
    for path in modules():
        if str(path.relative_to(PACKAGE)) in allowed:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "sys.stdout.write"):
                wrong.append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert wrong == []
