"""A stand-in for NxD Inference."""

import logging

logging.basicConfig(level=logging.INFO)
