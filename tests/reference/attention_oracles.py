"""Inputs for module 1, and when two results are the same."""

import pytest
import torch
from torch import Tensor

from assignments.given import attention as given
from reference import attention

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
# relative to values of about one; half precision rounds every intermediate result of an oracle of its own
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 4e-2, torch.float16: 5e-3}
BOTH = pytest.mark.parametrize("impl", [attention, given], ids=["reference", "given"])
EVERY_DTYPE = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()


def same(got: Tensor, right: Tensor, tolerance: float | None = None) -> None:
    """Equal in dtype and shape, and in value as far as the dtype can tell."""
    tolerance = TOLERANCE[got.dtype] if tolerance is None else tolerance
    torch.testing.assert_close(got, right, rtol=tolerance, atol=tolerance)
