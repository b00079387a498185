"""neuronctl: compile and serve language models with vLLM on AWS Neuron."""

__version__ = "0.1.0"
