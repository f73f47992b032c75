"""A mode that sees torch's kernels as they are called."""

from torch.utils._python_dispatch import TorchDispatchMode


class KernelMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A dispatch mode that leaves torch's compiler where it is."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch asks this to keep its compiler away from a mode, and imports it for that: a second, and 80 MB."""
        return False
