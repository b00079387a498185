"""A stand-in for safetensors: real files, tensors that are only bytes."""


class SafetensorError(Exception):
    """A file is not in the format."""
