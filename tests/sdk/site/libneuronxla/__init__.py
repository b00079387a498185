"""A stand-in for libneuronxla: the compiler's wrapper and its cache."""
