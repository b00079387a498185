"""Built-in < profile < NEURONCTL_* < flag, and each value remembers who said it."""

from __future__ import annotations

import pytest

from neuronctl.errors import ProfileError, ProfileErrors
from neuronctl.profile.origin import Origin
from neuronctl.profile.resolve import load_profile, validate_profile
from neuronctl.profile.spoken import RESERVED, split_path, variables

TEXT = "model: {id: org/name}\nengine:\n  max_model_len: 100\nserver: {port: 9000}\n"


def test_who_speaks_last_wins(world) -> None:
    world.write("profiles/p.yaml", TEXT)
    key = "engine.max_model_len"
    profile = load_profile("p", world.host)
    assert (profile.shape.engine.max_model_len, profile.origin(key)) == (
        100,
        Origin("profile", "profiles/p.yaml", 3),
    )
    world.environ["NEURONCTL_ENGINE_MAX_MODEL_LEN"] = "200"
    profile = load_profile("p", world.host)
    assert (profile.shape.engine.max_model_len, profile.origin(key)) == (
        200,
        Origin("env", name="NEURONCTL_ENGINE_MAX_MODEL_LEN"),
    )
    profile = load_profile("p", world.host, sets=[f"{key}=300"])
    assert (profile.shape.engine.max_model_len, str(profile.origin(key))) == (300, f"--set {key}")
    profile = load_profile("p", world.host, sets=[f"{key}=300"], flags={key: (400, "--max-model-len")})
    assert (profile.shape.engine.max_model_len, profile.origin(key)) == (
        400,
        Origin("flag", name="--max-model-len"),
    )
    assert profile.origin("server.host") == Origin("built-in")
    assert profile.shape.server.port == 9000


def test_origins_cover_every_value_that_is_there(world) -> None:
    world.write("p.yaml", TEXT + "env: {A: b}\nneuron: {x: {y: [1]}}\n")
    origins = load_profile("p.yaml", world.host).origins
    assert str(origins["engine.max_model_len"]) == "p.yaml:3"
    assert str(origins["server.host"]) == "built-in"
    assert str(origins["env.A"]) == "p.yaml:5"
    assert str(origins["neuron.x.y"]) == "p.yaml:6"
    assert "engine.seed" not in origins


def test_a_flag_that_was_not_given_says_nothing(world) -> None:
    world.write("p.yaml", TEXT)
    profile = load_profile("p.yaml", world.host, flags={"server.port": (None, "--port")})
    assert profile.shape.server.port == 9000


def test_variables_are_read_as_their_key_wants_them(world) -> None:
    world.write("p.yaml", TEXT)
    world.environ |= {
        "NEURONCTL_MODEL_REVISION": "0123456",
        "NEURONCTL_FEATURES_SAMPLING_ON_DEVICE": "true",
        "NEURONCTL_ENGINE_SERVED_MODEL_NAME": "[a, b]",
        "NEURONCTL_ARTIFACTS_PATH": "out",
        "NEURONCTL_SERVER_PORT": "null",
        "NEURONCTL_SERVER_HOST": "",
        "NEURONCTL_BACKEND": "cpu",
        "NEURONCTL_SERVER_REPLICAS": "3",
    }
    shape = load_profile("p.yaml", world.host).shape
    assert shape.model.revision == "0123456"
    assert shape.features.sampling.on_device is True
    assert shape.engine.served_model_name == ("a", "b")
    assert shape.artifacts.path == str(world.cwd / "out")
    assert (shape.server.port, shape.server.host, shape.server.replicas) == (8000, "127.0.0.1", 3)
    assert shape.backend == "cpu"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("NEURONCTL_ENGINE_MAX_MODEL_LEN", "4k", 'LEN: expected a whole number from 1, found the text "4k"'),
        ("NEURONCTL_ENGINE_MAX_MODEL_LEN", "[", "LEN: a list or mapping is still open"),
        ("NEURONCTL_ENGINE_ENFORCE_EAGER", "on", "NEURONCTL_ENGINE_ENFORCE_EAGER: `on` is true or false"),
        ("NEURONCTL_ENGINE_ENFORCE_EAGER", "# x", "NEURONCTL_ENGINE_ENFORCE_EAGER: nothing is said"),
        ("NEURONCTL_BACKEND", "gpu", "NEURONCTL_BACKEND: expected one of auto, nxdi"),
    ],
)
def test_a_wrong_variable_is_told_by_its_name(world, name: str, value: str, message: str) -> None:
    world.write("p.yaml", TEXT)
    world.environ[name] = value
    errors = [str(error) for error in validate_profile("p.yaml", world.host)]
    assert len(errors) == 1
    assert message in errors[0]


def test_unknown_variables_are_findings_and_reserved_ones_are_not(world) -> None:
    world.write("p.yaml", TEXT)
    world.environ |= dict.fromkeys(RESERVED, "x") | {"NEURONCTL_LOG_LEVEL": "x"}
    assert load_profile("p.yaml", world.host).findings == ()
    world.environ |= {"NEURONCTL_ENGINE_MAX_MODEL_LENGTH": "5"}
    (finding,) = load_profile("p.yaml", world.host).findings
    assert (finding.id, finding.severity) == ("profile.unknown-variable", "warning")
    assert finding.fix == "did you mean NEURONCTL_ENGINE_MAX_MODEL_LEN?"


def test_no_two_keys_share_a_variable_and_none_is_reserved() -> None:
    known = variables()
    assert len(set(known.values())) == len(known) > 50
    assert not RESERVED & set(known)
    assert not [name for name in known if name.startswith("NEURONCTL_LOG")]


def test_sets_are_read_as_yaml(world) -> None:
    world.write("p.yaml", TEXT)
    shape = load_profile(
        "p.yaml",
        world.host,
        sets=[
            "neuron.attn.kernel=true",
            'features.lora.adapters."a.b"=./x',
            "engine.extra={stream_interval: 4}",
            "features.buckets.prefill=[1, 2]",
            "env.OMP_NUM_THREADS=8",
            "server.port=null",
            "model.revision='null'",
            "description=a = b",
        ],
    ).shape
    assert shape.neuron == {"attn": {"kernel": True}}
    assert shape.features.lora.adapters == {"a.b": str(world.cwd / "x")}
    assert shape.engine.extra == {"stream_interval": 4}
    assert shape.features.buckets.prefill == (1, 2)
    assert shape.env == {"OMP_NUM_THREADS": "8"}
    assert (shape.server.port, shape.model.revision, shape.description) == (8000, "null", "a = b")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("engine.max_model_len", "--set: expected KEY=VALUE"),
        ("=5", "--set: expected KEY=VALUE"),
        ("engine..x=5", "--set: expected KEY=VALUE"),
        ("engine.seed=", "--set engine.seed: nothing stands after the ="),
        ("extends=base", "--set: `extends` is said by files alone"),
        ("engine.sed=5", "engine.sed: --set engine.sed: no such key"),
        ("engine.seed.x=5", "engine.seed.x: --set engine.seed.x: no such key"),
        ("engine=5", "engine: --set engine: this is a section"),
        ("env.A B=5", "env.A B: --set env.A B: a key here is the name of an environment variable"),
        ("engine.extra.max_model_len=5", "this has a key of its own"),
    ],
)
def test_a_wrong_set_is_told(world, said: str, message: str) -> None:
    world.write("p.yaml", TEXT)
    errors = [str(error) for error in validate_profile("p.yaml", world.host, sets=[said])]
    assert len(errors) == 1
    assert message in errors[0]


@pytest.mark.parametrize(
    "said", ["engine.extra.api_key=0731337", "server.api_key_env=0731337", "env.TOKEN=[0731337]"]
)
def test_a_wrong_set_keeps_secrets(world, said: str) -> None:
    world.write("p.yaml", TEXT)
    (error,) = validate_profile("p.yaml", world.host, sets=[said])
    assert "731337" not in f"{error} {error.fix}"


def test_a_wrong_flag_is_told_by_its_name(world) -> None:
    world.write("p.yaml", TEXT)
    with pytest.raises(ProfileError, match=r"server\.port: --port: expected a whole number from 1 to 65535"):
        load_profile("p.yaml", world.host, flags={"server.port": (0, "--port")})


def test_a_model_may_come_from_a_flag(world) -> None:
    world.write("p.yaml", "backend: cpu\n")
    profile = load_profile("p.yaml", world.host, sets=["model.id=./here"])
    assert profile.shape.model.id == str(world.cwd / "here")


def test_mistakes_of_all_sources_are_told_at_once(world) -> None:
    world.write("p.yaml", TEXT + "zzz: 1\n")
    world.environ["NEURONCTL_BACKEND"] = "gpu"
    with pytest.raises(ProfileErrors) as caught:
        load_profile("p.yaml", world.host, sets=["server.port=x"], flags={"engine.seed": (-1, "--seed")})
    assert len(caught.value.errors) == 4


def test_validate_tells_a_missing_profile_too(world) -> None:
    (error,) = validate_profile("nothing-like-it", world.host)
    assert "no profile called nothing-like-it" in str(error)


def test_dotted_paths_are_split() -> None:
    assert split_path("a.b.c") == ("a", "b", "c")
    assert split_path('a."b.c".d') == ("a", "b.c", "d")
    assert split_path("") == ("",)
