"""How a submission is to be graded, whatever is in it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """How to grade: where the earlier modules come from, whether forbidden calls cost points, where to run."""

    upstream: str = "given"
    ban: bool = True
    device: str = "cpu"
    require: str = "D"  # the isolation level to insist on
    gpu_workers: int = 1
