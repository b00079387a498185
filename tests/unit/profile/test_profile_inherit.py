"""`extends`: what is merged, what is refused."""

from __future__ import annotations

import pytest

from neuronctl.errors import ProfileError
from neuronctl.profile.inherit import MAX_CHAIN, MAX_READS
from neuronctl.profile.resolve import load_profile, validate_profile

MODEL = "model: {id: org/name}\n"


def the_error(world, reference: str) -> ProfileError:
    errors = validate_profile(reference, world.host)
    assert len(errors) == 1, [str(error) for error in errors]
    return errors[0]


def test_mappings_merge_lists_replace_null_takes_back(world) -> None:
    world.write(
        "profiles/base.yaml",
        "description: the base\nmodel: {id: org/base, revision: main}\nneuron: {a: {x: 1, y: 2}, b: 3}\n"
        "features: {buckets: {prefill: [1, 2, 3]}}\n"
        "server: {port: 9000}\nengine: {seed: 1, max_num_seqs: 4}\n",
    )
    world.write(
        "profiles/top.yaml",
        "extends: base\nmodel: {id: org/top}\nneuron: {a: {y: 5}, b: null}\n"
        "features: {buckets: {prefill: [7]}}\nserver: null\nengine: {seed: null}\n",
    )
    profile = load_profile("top", world.host)
    shape = profile.shape
    assert (shape.model.id, shape.model.revision, shape.description) == ("org/top", "main", None)
    assert shape.neuron == {"a": {"x": 1, "y": 5}}
    assert shape.features.buckets.prefill == (7,)
    assert (shape.server.port, shape.engine.seed, shape.engine.max_num_seqs) == (8000, None, 4)
    assert shape.extends == ()
    assert {key: str(origin) for key, origin in profile.said.items()} == {
        "model.id": "profiles/top.yaml:2",
        "model.revision": "profiles/base.yaml:2",
        "neuron.a.x": "profiles/base.yaml:3",
        "neuron.a.y": "profiles/top.yaml:3",
        "features.buckets.prefill": "profiles/top.yaml:4",
        "engine.max_num_seqs": "profiles/base.yaml:6",
    }
    assert profile.files == (world.cwd / "profiles/top.yaml", world.cwd / "profiles/base.yaml")


def test_of_several_the_later_wins_and_its_null_counts(world) -> None:
    world.write("a.yaml", MODEL + "engine: {seed: 1, max_num_seqs: 1}\nserver: {port: 1000}\n")
    world.write("c.yaml", "neuron: {c: 1}\n")
    world.write("b.yaml", "extends: ./c.yaml\nengine: {seed: 2}\nserver: {port: null}\n")
    world.write("top.yaml", "extends: [./a.yaml, ./b.yaml]\n")
    shape = load_profile("top.yaml", world.host).shape
    assert (shape.engine.seed, shape.engine.max_num_seqs, shape.server.port) == (2, 1, 8000)
    assert shape.neuron == {"c": 1}


def test_null_is_a_value_of_neuron_where_it_takes_nothing_back(world) -> None:
    """NxD Inference means something by it: `on_device_sampling_config: null` samples on the host."""
    world.write("base.yaml", MODEL + "neuron: {a: 1, deep: {b: 2}}\nengine: {seed: null}\n")
    world.write("top.yaml", "extends: ./base.yaml\nneuron: {a: null, c: null, deep: {b: null, d: null}}\n")
    profile = load_profile("top.yaml", world.host)
    assert profile.shape.neuron == {"c": None, "deep": {"d": None}}
    assert str(profile.origin("neuron.c")) == "top.yaml:2"
    again = load_profile("top.yaml", world.host, sets=("neuron.c=null", "neuron.e=null"))
    assert again.shape.neuron == {"c": None, "deep": {"d": None}, "e": None}


def test_a_mapping_replaces_a_value_and_a_value_a_mapping(world) -> None:
    world.write("base.yaml", MODEL + "neuron: {a: 1, b: {x: 1}, c: {}}\n")
    world.write("top.yaml", "extends: ./base.yaml\nneuron: {a: {y: 2}, b: 2, c: {z: 3}}\n")
    profile = load_profile("top.yaml", world.host)
    assert profile.shape.neuron == {"a": {"y": 2}, "b": 2, "c": {"z": 3}}
    assert sorted(key for key in profile.said if key.startswith("neuron")) == [
        "neuron.a.y",
        "neuron.b",
        "neuron.c.z",
    ]


def test_a_profile_extends_the_one_it_shadows(world) -> None:
    world.write_user("smollm2-cpu", "extends: smollm2-cpu\nengine: {seed: 5}\n")
    world.write("profiles/smollm2-cpu.yaml", "extends: smollm2-cpu\nengine: {max_num_seqs: 2}\n")
    profile = load_profile("smollm2-cpu", world.host)
    engine = profile.shape.engine
    assert (engine.seed, engine.max_num_seqs, engine.max_model_len) == (5, 2, 2048)
    assert len(profile.files) == 3


def test_a_name_said_in_a_farther_folder_does_not_reach_back(world) -> None:
    world.write_user("base", MODEL)
    world.write_user("top", "extends: base\n")
    world.write("profiles/base.yaml", "model: {id: org/other}\n")
    assert load_profile("top", world.host).shape.model.id == "org/name"


def test_a_circle_is_told_as_a_chain(world) -> None:
    world.write("a.yaml", MODEL + "extends: ./b.yaml\n")
    world.write("b.yaml", "\nextends:\n  - ./c.yaml\n")
    world.write("c.yaml", "extends: ./a.yaml\n")
    error = the_error(world, "a.yaml")
    assert "in a circle: a.yaml:2 → b.yaml:3 → c.yaml:1 → a.yaml" in str(error)
    world.write("self.yaml", MODEL + "extends: ./self.yaml\n")
    assert "in a circle: self.yaml:2 → self.yaml" in str(the_error(world, "self.yaml"))


def test_what_is_missing_or_broken_is_told_with_its_line(world) -> None:
    world.write("a.yaml", MODEL + "\nextends: nothing-like-it\n")
    assert str(the_error(world, "a.yaml")) == "a.yaml:3: extends: there is no profile called nothing-like-it"
    world.write("b.yaml", MODEL + "extends: [./none.yaml]\n")
    assert str(the_error(world, "b.yaml")) == "b.yaml:2: extends: there is no profile none.yaml"
    world.write("c.yaml", "extends: ./broken.yaml\n")
    world.write("broken.yaml", "x: [\n")
    assert str(the_error(world, "c.yaml")).startswith("broken.yaml:2: ")
    world.write("d.yaml", MODEL + "extends: {a: b}\n")
    assert "d.yaml:2: extends: expected text or a list, each text" in str(the_error(world, "d.yaml"))


def test_a_base_read_twice_has_its_mistakes_told_once(world) -> None:
    world.write("base.yaml", MODEL + "zzz: 1\n")
    world.write("a.yaml", "extends: ./base.yaml\n")
    world.write("top.yaml", "extends: [./a.yaml, ./base.yaml]\n")
    assert str(the_error(world, "top.yaml")) == "base.yaml:2: zzz: no such key"


def test_chains_and_lattices_have_limits(world) -> None:
    for number in range(MAX_CHAIN + 5):
        world.write(f"n{number}.yaml", MODEL + f"extends: ./n{number + 1}.yaml\n")
    assert f"more than {MAX_CHAIN} profiles" in str(the_error(world, "n0.yaml"))
    for number in range(15):
        world.write(f"m{number}.yaml", MODEL + f"extends: [./m{number + 1}.yaml, ./m{number + 1}.yaml]\n")
    world.write("m15.yaml", MODEL)
    errors = [str(error) for error in validate_profile("m0.yaml", world.host)]
    assert errors and all(f"more than {MAX_READS} profiles are read" in error for error in errors)


@pytest.mark.parametrize("link", ["symlink", "dots"])
def test_a_circle_is_seen_through_links(world, link: str) -> None:
    file = world.write(
        "a.yaml", MODEL + "extends: " + ("./b.yaml" if link == "symlink" else "../work/a.yaml") + "\n"
    )
    if link == "symlink":
        (world.cwd / "b.yaml").symlink_to(file)
    assert "in a circle" in str(the_error(world, "a.yaml"))
