"""A worker's side of the GPU: opened after the fork, its peak memory, and the errors after which it answers no more."""

import torch

from .device import TF32, is_gpu

BROKEN = 71  # exit code of a worker whose GPU context is gone


def start(device: str, share: float) -> str:
    """Open the GPU in this process, where the device is one.

    Args:
        share: of the GPU's memory, what this process may take.
    Returns:
        Why it cannot be opened; empty where it is open or not asked for.
    """
    if not is_gpu(device):
        return ""
    try:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = device == TF32
        torch.cuda.set_per_process_memory_fraction(share)
        torch.zeros(1, device="cuda").add_(1).item()
    except (RuntimeError, AssertionError, OSError) as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return ""


def _is_open() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def reset() -> None:
    """Begin to count the memory of a run, and seed the GPU's own generator."""
    if _is_open():
        torch.cuda.manual_seed_all(0)
        torch.cuda.reset_peak_memory_stats()


def finish() -> int:
    """Wait for what was sent to the GPU, so that its errors and its time count here; the peak memory in bytes."""
    if not _is_open():
        return 0
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


def is_broken(error: BaseException) -> bool:
    """Whether an error has taken the GPU context with it: nothing after it in this process would be true."""
    return _is_open() and "CUDA error" in str(error)
