"""Models that see: two configurations, two compiled models in one folder."""

from __future__ import annotations

import copy
import json
import logging
import os
from collections.abc import Callable
from typing import Any

import torch.jit
from neuronx_distributed.trace.model_builder import ModelBuilder
from stand_in_sdk import begin_loading, die_saying

from neuronx_distributed_inference.models.application_base import (
    COMPILED_MODEL_FILE_NAME,
    ModelWrapper,
    NeuronApplicationBase,
    compile_work_dir,
    damage_as_asked,
    normalize_path,
    read_weights,
    run_once,
    shard_into,
)
from neuronx_distributed_inference.models.config import InferenceConfig, NeuronConfig

logger = logging.getLogger("Neuron")
PARTS = ("text_model", "vision_model")


class ImageToTextInferenceConfig(InferenceConfig):
    """A model's configuration with one part for text and one for images, each with its NeuronConfig."""

    def __init__(
        self,
        text_neuron_config: NeuronConfig,
        vision_neuron_config: NeuronConfig,
        fused_spec_config: Any = None,
        load_config: Callable[[Any], None] | None = None,
        metadata: dict[str, Any] | None = None,
        **given: Any,
    ) -> None:
        super().__init__(copy.deepcopy(text_neuron_config), fused_spec_config, load_config, metadata, **given)
        assert hasattr(self, "text_config"), "Passed config doesn't contain text_config"
        assert hasattr(self, "vision_config"), "Passed config doesn't contain vision_config"
        text = {key: value for key, value in self.text_config.items() if key != "attention_chunk_size"}
        self.text_config = InferenceConfig(text_neuron_config, **text)
        self.text_config._name_or_path = self._name_or_path
        self.vision_config = InferenceConfig(vision_neuron_config, **self.vision_config)

    @classmethod
    def from_json_string(cls, text: str) -> InferenceConfig:
        """The configuration that was saved, made anew."""
        given = json.loads(text)
        make = cls.get_neuron_config_cls()
        neuron_configs = [make(**given[part]["neuron_config"]) for part in ("text_config", "vision_config")]
        for section in (given, given["text_config"], given["vision_config"]):
            section.pop("neuron_config")
        return cls(*neuron_configs, **given)


class NeuronBaseForImageToText(NeuronApplicationBase):
    """Two models, each with graphs, weights and a compile of its own."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        text = self.config.text_config.neuron_config
        for name in ("is_prefix_caching", "enable_fused_speculation", "is_chunked_prefill", "is_medusa"):
            if getattr(text, name):
                what = name.removeprefix("is_").removeprefix("enable_").replace("_", " ")
                raise ValueError(f"NeuronBaseForImageToText does not yet support {what}")
        vision = self.config.vision_config.neuron_config
        encoder = ModelWrapper(
            "vision_encoder_model", list(vision.buckets), [[1, one] for one in vision.buckets]
        )
        self.part_models = {"text_model": self.models, "vision_model": [encoder]}
        self.part_configs = {"text_model": self.config.text_config, "vision_model": self.config.vision_config}
        self.traced: dict[str, torch.jit.ScriptModule] = {}
        self._builders: dict[str, ModelBuilder] = {}

    def get_part_builder(self, part: str) -> ModelBuilder:
        """What traces and shards one of the two."""
        if part not in self._builders:
            work_dir = os.path.join(compile_work_dir(), part, "")
            self._builders[part] = self.make_builder(
                self.part_configs[part], self.part_models[part], work_dir, self.checkpoint_loader_fn
            )
        return self._builders[part]

    def compile(self, compiled_model_path: str) -> None:
        """Compile both: the configuration first, then the graphs of each, the weights last."""
        folder = normalize_path(compiled_model_path)
        self.config.save(folder)
        die_saying("die-saying")
        for part in PARTS:
            os.makedirs(folder + part, exist_ok=True)
        for part in PARTS:
            traced = self.get_part_builder(part).trace()
            torch.jit.save(traced, os.path.join(folder, part, COMPILED_MODEL_FILE_NAME))
            logger.info("Finished compiling %s!", part.replace("_", " "))
        self.config.save(compile_work_dir())
        for part in PARTS:
            config = self.part_configs[part].neuron_config
            shard_into(folder + part, config, lambda part=part: self.get_part_builder(part))
            logger.info("Finished sharding weights for %s!", part.replace("_", " "))
        damage_as_asked(folder)
        logger.info("Compilation complete for E2E model!")

    def load(self, compiled_model_path: str) -> None:
        """Load both onto the device, and run each graph once."""
        folder = normalize_path(compiled_model_path)
        begin_loading()
        for part in PARTS:
            self.traced[part] = torch.jit.load(os.path.join(folder, part, COMPILED_MODEL_FILE_NAME))
        for part in PARTS:
            # Whether there are shards, and of which ranks, the text model's configuration says for both.
            weights = read_weights(
                os.path.join(folder, part), self.neuron_config, lambda part=part: self.get_part_builder(part)
            )
            self.traced[part].nxd_model.initialize(weights, self.neuron_config.start_rank_id)
        if self.neuron_config.skip_warmup:
            logger.info("Skipping model warmup")
        else:
            self.warmup()

    def warmup(self) -> None:
        """Run each graph once."""
        logger.info("Warming up the model.")
        for part in PARTS:
            run_once(self.part_models[part], self.traced[part])

    @property
    def weights_loaded(self) -> str:
        """A digest of the weights that are on the device; both parts hold the same in this stand-in."""
        return self.traced["text_model"].nxd_model.weights if self.traced else ""

    def check_heads(self) -> None:
        """Not looked at: AWS's own examples run such models with padded heads."""
