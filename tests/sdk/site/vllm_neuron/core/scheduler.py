"""The scheduler that has no chunked prefill."""


class ContinuousBatchingNeuronScheduler:
    """Prompts before tokens."""
