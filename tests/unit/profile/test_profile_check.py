"""A profile against the schema: every mistake is found, placed, and told with what to type."""

from __future__ import annotations

import pytest

from neuronctl.errors import ProfileError, ProfileErrors
from neuronctl.profile.resolve import load_profile, validate_profile
from neuronctl.profile.schema import ProfileShape


def the_error(world, text: str) -> ProfileError:
    world.write("p.yaml", text)
    errors = validate_profile("p.yaml", world.host)
    assert len(errors) == 1, [str(error) for error in errors]
    return errors[0]


def shape(world, text: str) -> ProfileShape:
    world.write("p.yaml", "model: {id: org/name}\n" + text)
    return load_profile("p.yaml", world.host).shape


MODEL = "model: {id: org/name}\n"


@pytest.mark.parametrize(
    ("text", "message", "fix"),
    [
        (
            "engine: {max_model_lenn: 1}",
            "p.yaml:2: engine.max_model_lenn: no such key",
            "did you mean engine.max_model_len?",
        ),
        ("max_model_len: 1", "p.yaml:2: max_model_len: no such key", "did you mean engine.max_model_len?"),
        ("max-model-len: 1", "p.yaml:2: max-model-len: no such key", "did you mean engine.max_model_len?"),
        (
            "engine: {Max-Num-Seqs: 1}",
            "p.yaml:2: engine.Max-Num-Seqs: no such key",
            "did you mean engine.max_num_seqs?",
        ),
        ("engine: {port: 1}", "p.yaml:2: engine.port: no such key", "did you mean server.port?"),
        ("server: {api_key: x}", "p.yaml:2: server.api_key: no such key", "did you mean server.api_key_env?"),
        ("tp: 8", "p.yaml:2: tp: no such key", "did you mean engine.tensor_parallel_size?"),
        ("serverr: {}", "p.yaml:2: serverr: no such key", "did you mean server?"),
        (
            "features: {prefix_cache: true}",
            "p.yaml:2: features.prefix_cache: no such key",
            "features.prefix_caching?",
        ),
        (
            "engine: {stream_interval: 1}",
            "p.yaml:2: engine.stream_interval: no such key",
            "engine.extra.stream_interval",
        ),
        ("zzz: 1", "p.yaml:2: zzz: no such key", "neuronctl profiles schema"),
        (
            "engine: {max_model_len: 4k}",
            'p.yaml:2: engine.max_model_len: expected a whole number from 1, found the text "4k"',
            None,
        ),
        (
            "engine: {max_model_len: '4096'}",
            'engine.max_model_len: expected a whole number from 1, found the text "4096"',
            "leave the quotes out: 4096",
        ),
        ("engine: {max_model_len: 0}", "expected a whole number from 1, found the number 0", None),
        ("engine: {max_model_len: 1.0}", "expected a whole number from 1, found the number 1.0", None),
        ("engine: {max_model_len: true}", "expected a whole number from 1, found true", None),
        ("engine: {max_model_len: [1]}", "expected a whole number from 1, found a list", None),
        (
            "engine: {max_model_len: }",
            "engine.max_model_len: nothing stands after the colon",
            "write a whole number from 1, or null",
        ),
        (
            "engine: {gpu_memory_utilization: 1.5}",
            "expected a number above 0 to 1, found the number 1.5",
            None,
        ),
        ("engine: {enable_prefix_caching: 1}", "expected true or false, found the number 1", None),
        (
            "engine: {enable_prefix_caching: 'true'}",
            'expected true or false, found the text "true"',
            "leave the quotes out: true",
        ),
        (
            "engine: {dtype: bfloat61}",
            "expected one of auto, bfloat16, float16, float32, half, float",
            "did you mean bfloat16?",
        ),
        (
            "engine: {served_model_name: 7}",
            "expected text or a list, each text, found the number 7",
            'put it in quotes: "7"',
        ),
        ("engine: {served_model_name: [a, 7]}", "expected text or a list, each text, found a list", None),
        (
            "server: {host: ''}",
            "server.host: expected text, found an empty text",
            "leave the key out, or give it a value",
        ),
        (
            "engine: {max_model_len: [2]}",
            "expected a whole number from 1, found a list",
            "neuronctl profiles schema says what each key takes",
        ),
        ("engine: [1]", "p.yaml:2: engine: this is a section, found a list", "write  engine: {…}"),
        ("server: {port: 70000}", "expected a whole number from 1 to 65535, found the number 70000", None),
        ("server: {replicas: all}", 'expected auto or a whole number from 1, found the text "all"', None),
        (
            "env: {OMP_NUM_THREADS: 8}",
            "p.yaml:2: env.OMP_NUM_THREADS: expected text, found the number 8",
            'put it in quotes: "8"',
        ),
        (
            "env:\n  A: '1'\n  B: true",
            "p.yaml:4: env.B: expected text, found true",
            'put it in quotes: "true"',
        ),
        ("env: {A-B: x}", "env.A-B: a key here is the name of an environment variable", None),
        (
            "features: {lora: {adapters: [a]}}",
            "features.lora.adapters: expected a mapping, each value a path or a hub id, found a list",
            None,
        ),
        ("artifacts: {path: out}", "artifacts.path: a path begins with ./, ../, ~/ or /", "write ./out"),
        (
            "engine: {extra: {max-model-len: 1}}",
            "engine.extra.max-model-len: this has a key of its own",
            "engine.max_model_len",
        ),
        ("neuron: {a: on}", "p.yaml:2: neuron.a: `on` is true or false to some YAML readers", None),
    ],
)
def test_a_mistake_is_told_with_its_place_and_remedy(world, text: str, message: str, fix: str | None) -> None:
    error = the_error(world, MODEL + text + "\n")
    assert message in str(error)
    if fix is not None:
        assert fix in (error.fix or "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "a profile is a mapping of keys, this is a list"),
        ("word\n", 'a profile is a mapping of keys, this is the text "word"'),
        ("model: org/name\n", "p.yaml:1: model: this is a section"),
        ("model: {}\n", "p.yaml: model.id: no model is named"),
        ("backend: cpu\n", "p.yaml: model.id: no model is named"),
        ("model: {id: 5}\n", "p.yaml:1: model.id: expected a path or a hub id, found the number 5"),
        ("model: {id: a/b, revision: 0123}\n", "p.yaml:1: model.revision: `0123` is octal to some"),
        (
            "model: {id: a/b, revision: 12345678}\n",
            "model.revision: expected text, found the number 12345678",
        ),
    ],
)
def test_a_profile_needs_a_model(world, text: str, message: str) -> None:
    assert message in str(the_error(world, text))


def test_all_mistakes_are_told_at_once(world) -> None:
    world.write(
        "p.yaml", MODEL + "engine: {seed: x, seedd: 1}\nserver:\n  port: 0\nbackend: gpu\nmodel: {id: b}\n"
    )
    with pytest.raises(ProfileErrors) as caught:
        load_profile("p.yaml", world.host)
    keys = {str(error).split(": ")[1] for error in caught.value.errors}
    assert keys == {"engine.seed", "engine.seedd", "server.port", "backend", "model"}


def test_a_flood_of_mistakes_is_cut(world) -> None:
    world.write("p.yaml", MODEL + "".join(f"zz{n}: 1\n" for n in range(80)))
    errors = validate_profile("p.yaml", world.host)
    assert len(errors) == 51
    assert errors[-1].what == "and 30 more mistakes"


@pytest.mark.parametrize(
    "text",
    [
        "env: {HF_TOKEN: [hunter2]}",
        "env: {HF_TOKEN: 731337}",
        "env: {HF_TOKEN: 0731337}",
        "neuron: {x: {secret: [0731337]}}",
        "server: {api_key_env: hunter2-731337}",
        "engine: {seed: hf_hunter2}",
        "api_key: hunter2",
        "env: {A: hunter2, MY_PASSWORD: {x: hunter2}}",
    ],
)
def test_secrets_are_not_in_errors(world, text: str) -> None:
    error = the_error(world, MODEL + text + "\n")
    told = f"{error} {error.fix} {error.details}"
    assert "hunter2" not in told
    assert "731337" not in told


def test_null_is_the_built_in_value_and_an_empty_section_says_nothing(world) -> None:
    read = shape(world, "server: {port: null, host: ~}\nengine:\nenv:\nneuron: {a: null, b: 1}\n")
    assert (read.server.port, read.server.host) == (8000, "127.0.0.1")
    assert read.neuron == {"a": None, "b": 1}, "null is a value of NxD Inference"


def test_types_are_those_of_the_schema(world) -> None:
    read = shape(
        world,
        "engine: {served_model_name: [a, b], gpu_memory_utilization: 1, extra: {x: [1, {y: null}]}}\n"
        "features: {buckets: {prefill: [128, 512]}}\nserver: {replicas: 2}\n",
    )
    assert read.engine.served_model_name == ("a", "b")
    assert read.engine.gpu_memory_utilization == 1.0
    assert read.engine.extra == {"x": [1, {"y": None}]}
    assert read.features.buckets.prefill == (128, 512)
    assert read.server.replicas == 2
    assert read.engine.max_model_len is None


def test_paths_begin_at_the_file_that_says_them(world) -> None:
    world.write(
        "base/base.yaml",
        "features: {lora: {adapters: {sql: ./sql, hub: org/lora}}}\nengine: {tokenizer: ~/tok}\n",
    )
    world.write(
        "deploy/p.yaml", "extends: ../base/base.yaml\nmodel: {id: ../models/llama}\nartifacts: {path: /abs}\n"
    )
    read = load_profile("deploy/p.yaml", world.host).shape
    assert read.model.id == str(world.cwd / "models/llama")
    assert read.features.lora.adapters == {"sql": str(world.cwd / "base/sql"), "hub": "org/lora"}
    assert read.engine.tokenizer == str(world.home / "tok")
    assert read.artifacts.path == "/abs"
    assert shape(world, "").model.id == "org/name"
