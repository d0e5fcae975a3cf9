"""The sampling loop, its backends, and the model that wraps it for images."""

from dimvida.sampling.backends import BACKENDS
from dimvida.sampling.loop import sample

__all__ = ["BACKENDS", "sample"]
