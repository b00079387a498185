"""A stand-in for the Neuron Kernel Interface."""
