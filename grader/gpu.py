"""A worker's side of the GPU: opened after the fork, its peak memory, and the errors after which it answers no more."""

import torch

from .device import TF32, is_gpu
from .errors import BadRequest

BROKEN = 71  # exit code of a worker whose GPU context is gone
FULL = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")  # said where torch's own allocator is not asked


def check_build(device: str) -> None:
    """Refuse a GPU to a PyTorch that was built without CUDA. It touches no GPU, so a process may fork after it.

    Raises:
        BadRequest: this PyTorch can use none.
    """
    if is_gpu(device) and torch.version.cuda is None:
        raise BadRequest(
            f"--device {device}: PyTorch {torch.__version__} was built without CUDA. "
            "Install it as https://pytorch.org/get-started says for CUDA, or use --device cpu."
        )


def start(device: str, share: float) -> str:
    """Open the GPU in this process, where the device is one, and load what every check needs there.

    Args:
        share: of the GPU's memory, what this process may take.
    Returns:
        Why it cannot be opened; empty where it is open or not asked for.
    """
    if not is_gpu(device):
        return ""
    try:
        torch.cuda.set_per_process_memory_fraction(share)
        for dtype in (torch.float32, torch.bfloat16):  # else the first check would wait for cuBLAS, and pay for it
            x = torch.ones(16, 16, device="cuda", dtype=dtype, requires_grad=True)
            torch.autograd.backward(torch.nn.functional.linear(x, x, x[0]).softmax(dim=-1).sum())
        torch.cuda.synchronize()
    except (RuntimeError, AssertionError, OSError) as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return ""


def set_precision(device: str) -> None:
    """Whether products of float32 may be rounded to TF32 on their way: only where the device is called so."""
    torch.set_float32_matmul_precision("high" if device == TF32 else "highest")
    torch.backends.cudnn.allow_tf32 = device == TF32


def reset() -> int:
    """Begin to count the memory of a run, and seed the GPU's own generator; the bytes that are in use already."""
    if not _is_open():
        return 0
    torch.cuda.manual_seed_all(0)
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def finish(before: int) -> int:
    """Wait for what was sent to the GPU, so that its errors and its time count here; the run's peak in bytes.

    Args:
        before: what was in use when the run began.
    """
    if not _is_open():
        return 0
    torch.cuda.synchronize()
    return max(torch.cuda.max_memory_allocated() - before, 0)


def is_broken() -> bool:
    """Whether the GPU's context is gone: nothing after it in this process would be true.

    Asked of the GPU, not of a message: an error of it shows late, maybe behind an exception of another kind, and some
    of its errors leave the context as it was.
    """
    if not _is_open():
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


def is_full(error: BaseException, message: str) -> bool:
    """Whether an error says that the GPU has no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or any(said in message for said in FULL)


def _is_open() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
