"""Frames as a worker sends them, made by hand."""

import json
from typing import Any

from hypothesis import settings
from safetensors.torch import save
from torch import Tensor

from grader.outcome import Outcome, decode

FUZZ = settings(derandomize=True, database=None, deadline=None, max_examples=150)
NONE = [["", "json", None]]
FIELDS = {"ended": "values", "leaves": NONE, "raised": None, "why": "", "seconds": 0.0, "printed": "", "gpu_bytes": 0}


def received(tensors: dict[str, Tensor] | None = None, **fields: Any) -> Outcome:
    """What a header with these fields decodes to."""
    return decode(json.dumps(FIELDS | fields).encode(), save(tensors) if tensors else b"")
