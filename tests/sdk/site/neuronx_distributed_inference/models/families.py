"""The model families: all are one class here, apart from experts and images."""

from __future__ import annotations

from neuronx_distributed_inference.models.application_base import NeuronApplicationBase
from neuronx_distributed_inference.models.config import InferenceConfig, MoENeuronConfig, NeuronConfig
from neuronx_distributed_inference.models.image_to_text_model_base import (
    ImageToTextInferenceConfig,
    NeuronBaseForImageToText,
)

NAMES = {
    "llama": "NeuronLlamaForCausalLM",
    "llama4": "NeuronLlama4ForCausalLM",
    "mistral": "NeuronLlamaForCausalLM",
    "mixtral": "NeuronMixtralForCausalLM",
    "dbrx": "NeuronMixtralForCausalLM",
    "gpt_oss": "NeuronMixtralForCausalLM",
    "pixtral": "NeuronPixtralForCausalLM",
    "qwen2": "NeuronLlamaForCausalLM",
    "qwen2_vl": "NeuronPixtralForCausalLM",
    "qwen3": "NeuronLlamaForCausalLM",
    "qwen3_moe": "NeuronMixtralForCausalLM",
    "qwen3_vl": "NeuronPixtralForCausalLM",
    "gemma3": "NeuronLlamaForCausalLM",
}


class LlamaInferenceConfig(InferenceConfig):
    """Of dense decoders."""

    def get_required_attributes(self) -> list[str]:
        """What attention and layers are made of."""
        return [
            "hidden_size",
            "num_attention_heads",
            "num_hidden_layers",
            "num_key_value_heads",
            "pad_token_id",
            "vocab_size",
            "max_position_embeddings",
            "rope_theta",
            "rms_norm_eps",
            "hidden_act",
        ]


class ExpertsInferenceConfig(LlamaInferenceConfig):
    """Of decoders with experts."""

    @classmethod
    def get_neuron_config_cls(cls) -> type[NeuronConfig]:
        """With settings for experts."""
        return MoENeuronConfig


class ExpertsImageConfig(ImageToTextInferenceConfig):
    """Of a decoder with experts and eyes."""

    @classmethod
    def get_neuron_config_cls(cls) -> type[NeuronConfig]:
        """With settings for experts."""
        return MoENeuronConfig


class NeuronLlamaModel:
    """The decoder itself: a draft's class is kept by this name."""


class NeuronLlamaForCausalLM(NeuronApplicationBase):
    """A dense decoder."""

    _model_cls = NeuronLlamaModel

    @classmethod
    def get_config_cls(cls) -> type[InferenceConfig]:
        """Its configuration."""
        return LlamaInferenceConfig


class NeuronMixtralForCausalLM(NeuronLlamaForCausalLM):
    """A decoder with experts."""

    @classmethod
    def get_config_cls(cls) -> type[InferenceConfig]:
        """Its configuration."""
        return ExpertsInferenceConfig


class NeuronPixtralForCausalLM(NeuronBaseForImageToText):
    """A decoder with a vision encoder."""

    _model_cls = NeuronLlamaModel

    @classmethod
    def get_config_cls(cls) -> type[InferenceConfig]:
        """Its configuration."""
        return ImageToTextInferenceConfig


class NeuronLlama4ForCausalLM(NeuronPixtralForCausalLM):
    """A decoder with experts and a vision encoder."""

    @classmethod
    def get_config_cls(cls) -> type[InferenceConfig]:
        """Its configuration."""
        return ExpertsImageConfig
