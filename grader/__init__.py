"""The engine: it runs checks on implementations and compares what came back. It knows nothing of language models."""

from .checks import graded, gradients, registered

__all__ = ["graded", "gradients", "registered"]
