"""The random inputs of a check, the same bits on every machine.

The bits of torch.randn differ from one kind of CPU to the next, so numbers come from PCG64 integers and are turned
into floats by additions and one division, which IEEE 754 rounds the same way everywhere.

One check is run in several modes: with inputs in their own dtype, with the same values in float64 (the twin that
gives the truth), and in float64 with every input moved by one unit in the last place of its own dtype (how far
rounding alone can carry the result).
"""

import hashlib
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor, nn

from .device import CPU, PLACES, TF32_EPSILON

CAST_BY_NUMPY = ("float32", "float64", "int32", "int64")
STD_OF_FOUR_SUMMED = 65536 / 3**0.5  # of four uniform integers below 65536


@dataclass(frozen=True)
class Mode:
    """How the inputs of a run are made. `moved`: 0, or the number of the draw that moves each by one ulp."""

    wide: bool = False
    moved: int = 0


NATIVE, WIDE = Mode(), Mode(wide=True)


def seed_from(*parts: object) -> int:
    """A 64-bit seed that depends on every part."""
    return int.from_bytes(hashlib.sha256("\0".join(map(str, parts)).encode()).digest()[:8], "little")


class Rng:
    """Draws inputs in the order asked for; a new one with the same seed draws the same."""

    def __init__(self, seed: int, mode: Mode = NATIVE, device: str = CPU, tf32: bool = False) -> None:
        self.mode = mode
        self.device = torch.device(PLACES[device])
        self._tf32 = tf32
        self._bits = np.random.PCG64(seed)
        self._seed = seed
        self._move_bits = np.random.PCG64(seed_from(seed, "moved", mode.moved)) if mode.moved else None

    def randn(
        self,
        *shape: int,
        dtype: str = "float32",
        scale: float = 1.0,
        shift: float = 0.0,
        contiguous: bool = True,
        requires_grad: bool = False,
    ) -> Tensor:
        """A bell-shaped tensor: mean `shift`, standard deviation `scale`, never beyond 3.47 of them.

        Args:
            dtype: name of a float dtype. In float64 runs the values are rounded to it and then widened.
            contiguous: False lays the axes out in memory in reverse order.
        """
        values = self._normal(self._bits, shape) * scale + shift
        drawn = self._finish(_tensor(values if contiguous else np.asfortranarray(values), dtype))
        return drawn.requires_grad_() if requires_grad else drawn

    def integers(self, low: int, high: int, *shape: int, dtype: str = "int64") -> Tensor:
        """Integers of low <= x < high in any dtype. They are exact, so float64 runs widen but never move them."""
        raw = self._bits.random_raw(prod(shape)) % np.uint64(high - low)
        values = _tensor(raw.astype(np.int64).reshape(shape) + low, dtype)
        return self._place(values.double() if self.mode.wide and values.is_floating_point() else values)

    def bools(self, *shape: int, share: float = 0.5) -> Tensor:
        """A bool tensor with about `share` of its entries True."""
        return self.integers(0, 1000, *shape) < round(share * 1000)

    def fill(self, module: nn.Module, dtype: str = "float32") -> nn.Module:
        """Set every parameter of a module at unit gain, by its name, in `dtype`; returns the module.

        Matrices get standard deviation 1/sqrt(fan_in). Vectors get values clearly away from the neutral ones:
        biases are around 0, other vectors around 1.
        """
        module.to(getattr(torch, dtype))
        if self.mode.wide:
            module.double()
        shared: set[int] = set()  # a shared parameter goes by its first name in the alphabet
        with torch.no_grad():
            for name, parameter in sorted(module.named_parameters(remove_duplicate=False), key=lambda named: named[0]):
                if id(parameter) not in shared:
                    shared.add(id(parameter))
                    parameter.copy_(self._finish(_tensor(self._parameter(name, tuple(parameter.shape)), dtype)))
        return module if self.device.type == CPU else module.to(self.device)

    def _parameter(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """The values of a parameter."""
        drawn = self._normal(np.random.PCG64(seed_from(self._seed, "parameter", name)), shape)
        if len(shape) >= 2:
            return np.asarray(drawn / prod(shape[1:]) ** 0.5)
        return np.asarray(drawn * 0.5 + (0.0 if name.endswith("bias") else 1.0))

    def generator(self, seed: int) -> torch.Generator:
        """A generator to hand to the implementation, for draws on the device of the inputs."""
        return torch.Generator("cpu" if self.device.type == "meta" else self.device).manual_seed(seed)

    def _normal(self, bits: np.random.PCG64, shape: tuple[int, ...]) -> np.ndarray:
        pieces = bits.random_raw(prod(shape)).astype("<u8").view("<u2").reshape(-1, 4)
        centred: np.ndarray = pieces.sum(axis=1, dtype=np.int64) - 2 * 65535
        return np.asarray(centred / STD_OF_FOUR_SUMMED).reshape(shape)

    def _finish(self, values: Tensor) -> Tensor:
        """Widen and move as the mode says, and put on the device."""
        if self.mode.wide:
            ulp = max(torch.finfo(values.dtype).eps, TF32_EPSILON if self._tf32 else 0.0)
            values = values.double()
            if self._move_bits:
                signs = self._move_bits.random_raw(values.numel()) % np.uint64(2)
                values = values * (1 + ulp * (torch.from_numpy(signs.astype(np.float64)).reshape(values.shape) * 2 - 1))
        return self._place(values)

    def _place(self, values: Tensor) -> Tensor:
        return values if self.device.type == CPU else values.to(self.device)


def _tensor(values: np.ndarray, dtype: str) -> Tensor:
    """Numpy casts where it can: each call of torch is looked at where a submission is watched."""
    if dtype in CAST_BY_NUMPY:
        return torch.from_numpy(np.asarray(values, dtype))
    return torch.from_numpy(np.asarray(values)).to(getattr(torch, dtype))
