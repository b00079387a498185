"""Which file a reference means."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuronctl.errors import ProfileError
from neuronctl.profile.find import all_named, find_profile, packaged_folder
from neuronctl.profile.listing import list_profiles

MODEL = "model: {id: org/name}\n"


def refusal(world, reference: str) -> ProfileError:
    with pytest.raises(ProfileError) as caught:
        find_profile(reference, world.host)
    return caught.value


def test_a_name_is_searched_in_order(world) -> None:
    assert find_profile("smollm2-cpu", world.host).path == packaged_folder() / "smollm2-cpu.yaml"
    user = world.write_user("smollm2-cpu", MODEL)
    assert find_profile("smollm2-cpu", world.host).path == user
    mine = world.write("profiles/smollm2-cpu.yml", MODEL)
    found = find_profile("smollm2-cpu", world.host)
    assert (found.path, found.source, found.name) == (mine, "working folder", "smollm2-cpu")


def test_a_path_is_a_path(world) -> None:
    file = world.write("deep/x.yaml", MODEL)
    for reference in ("deep/x.yaml", "./deep/x.yaml", str(file), "deep/../deep/x.yaml"):
        assert find_profile(reference, world.host).path == file
    beside = world.write("y.yaml", MODEL)
    assert find_profile("y.yaml", world.host).path == beside
    (world.home / "z.yaml").write_text(MODEL)
    assert find_profile("~/z.yaml", world.host).path == world.home / "z.yaml"


def test_what_is_not_there_is_told_with_what_is_near(world) -> None:
    world.write("profiles/llama.yaml", MODEL)
    world.write("other.yaml", MODEL)
    assert "did you mean llama?" in (refusal(world, "lama").fix or "")
    assert refusal(world, "qqqqqqqq").fix == "neuronctl profiles list"
    assert "say ./other.yaml" in (refusal(world, "other").fix or "")
    assert refusal(world, "profiles/lama.yaml").fix == "did you mean profiles/llama.yaml?"
    assert "no profile nowhere/x.yaml" in refusal(world, "nowhere/x.yaml").what


@pytest.mark.parametrize("reference", ["", "  ", "a\0b", "a\0/b", "x" * 5000, "x" * 5000 + "/y", "..", "."])
def test_odd_references_are_refused(world, reference: str) -> None:
    assert refusal(world, reference).exit_code == 2


def test_the_list_shows_shadows_descriptions_and_errors(world) -> None:
    mine = world.write("profiles/smollm2-cpu.yaml", "description: mine\n" + MODEL)
    world.write("profiles/broken.yaml", "a: [\n")
    world.write("profiles/.hidden.yaml", "a: [\n")
    world.write("profiles/notes.txt", "no profile")
    entries = {(entry.name, entry.source): entry for entry in list_profiles(world.host)}
    assert ("notes", "working folder") not in entries and (".hidden", "working folder") not in entries
    own = entries["smollm2-cpu", "working folder"]
    assert (own.description, own.shadowed_by, own.error) == ("mine", None, None)
    assert entries["smollm2-cpu", "packaged"].shadowed_by == mine
    assert "profiles/broken.yaml:2" in (entries["broken", "working folder"].error or "")


def test_a_folder_that_is_two_of_them_counts_once(world) -> None:
    (world.cwd / "profiles").symlink_to(packaged_folder())
    names = [(located.name, located.shadowed_by) for located in all_named(world.host)]
    assert names.count(("smollm2-cpu", None)) == 1
    assert all(shadow is None for _, shadow in names)


def test_every_shipped_profile_is_right_and_has_the_editors_line(world) -> None:
    entries = [entry for entry in list_profiles(world.host) if entry.source == "packaged"]
    assert "smollm2-cpu" in {entry.name for entry in entries}
    for entry in entries:
        assert entry.error is None, entry.error
        assert entry.description
        first = Path(entry.path).read_text(encoding="utf-8").splitlines()[0]
        assert first == "# yaml-language-server: $schema=./schema.json"
