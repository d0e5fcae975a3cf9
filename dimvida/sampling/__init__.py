"""The sampling loop, its backends, and the model that wraps it for images."""

from dimvida.sampling.loop import BACKENDS, sample

__all__ = ["BACKENDS", "sample"]
