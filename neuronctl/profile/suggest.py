"""Suggest: the known key or word that somebody most likely meant."""

from __future__ import annotations

from collections.abc import Iterable

from neuronctl.profile.kind import fields_of
from neuronctl.profile.schema import ProfileShape

# Names that other tools use for something a profile says otherwise.
_ALSO_CALLED = {
    "tp": "engine.tensor_parallel_size",
    "tp_size": "engine.tensor_parallel_size",
    "tp_degree": "engine.tensor_parallel_size",
    "tensor_parallel": "engine.tensor_parallel_size",
    "batch_size": "engine.max_num_seqs",
    "max_batch_size": "engine.max_num_seqs",
    "seq_len": "engine.max_model_len",
    "max_length": "engine.max_model_len",
    "max_context_length": "engine.max_model_len",
    "context_length": "engine.max_model_len",
    "torch_dtype": "engine.dtype",
    "model_id": "model.id",
    "model_name": "model.id",
    "name": "model.id",
    "api_key": "server.api_key_env",
    "on_device_sampling": "features.sampling.on_device",
    "lora_modules": "features.lora.adapters",
    "override_neuron_config": "neuron",
    "neuron_config": "neuron",
    "environment": "env",
    "base": "extends",
    "inherits": "extends",
}


def nearest_key(path: tuple[str, ...]) -> str | None:
    """The known key path nearest to an unknown one, None where nothing is near.

    A key that exists under another section comes before a key that is only spelt alike.
    """
    known = [field.path for field in fields_of(ProfileShape)]
    *section, key = path
    said = key.lower().replace("-", "_").strip()
    beside = [each for each in known if list(each[:-1]) == section]
    elsewhere = [each for each in known if list(each[:-1]) != section]
    for group in (beside, elsewhere):
        for each in group:
            if each[-1] == said:
                return ".".join(each)
    if said in _ALSO_CALLED:
        return _ALSO_CALLED[said]
    # `max_model_lenght` in its section; else the same mistake in another one, which must look closer.
    for group, least in ((beside, 0.6), (elsewhere, 0.8)):
        names = {each[-1]: each for each in reversed(group)}
        if near := nearest_word(said, names, least):
            return ".".join(names[near])
    return None


def nearest_word(said: str, known: Iterable[str], least: float = 0.6) -> str | None:
    """The known word that looks most like `said`, None where none does."""
    return next(iter(nearest_words(said, known, 1, least)), None)


def nearest_words(said: str, known: Iterable[str], most: int, least: float = 0.6) -> tuple[str, ...]:
    """The known words that look like `said`, not more than `most`, the nearest first."""
    import difflib

    return tuple(difflib.get_close_matches(said[:200], list(known), n=most, cutoff=least))
