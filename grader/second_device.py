"""A second device on a machine that has none: its tensors are computed on the CPU and do not mix with the CPU's.

Most mistakes that a GPU shows are tensors left behind on the CPU. Here they raise the same error as there, so that a
laptop finds them too. A `SecondTensor` tells torch that it is on the meta device and holds its values beside it; a
dispatch mode makes what is asked for on that device, and refuses an operation that has inputs on both.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode

from .device import PLACES, SECOND

PLACE = PLACES[SECOND]
MIXED = f"Expected all tensors to be on the same device, but found at least two devices, {PLACE}:0 and cpu!"
MAKERS = (torch.tensor, torch.as_tensor, torch.asarray)  # they reach a device without a dispatch mode's seeing it


class SecondTensor(Tensor):
    """A tensor on the second device; `held` has its values, on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "SecondTensor":
        made = Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(PLACE),
        )
        made.held = held
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _compute(func, args, kwargs or {})

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, values: Tensor) -> None:
        Tensor.data.__set__(self, values)  # type: ignore[attr-defined]
        self.held = values.held if isinstance(values, SecondTensor) else values

    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(_index(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(_index(index), value)

    def tolist(self) -> Any:
        return self.held.tolist()

    def new_tensor(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.held.new_tensor(*args, **{**kwargs, "device": "cpu"}).to(kwargs.get("device") or PLACE)

    def __repr__(self) -> str:  # type: ignore[override]
        return repr(self.held).removesuffix(")") + f", device='{PLACE}')"


@contextmanager
def present() -> Iterator[None]:
    """Inside, what is made on the device `PLACE` or moved there is a SecondTensor."""
    with warnings.catch_warnings(), _Makers(), _Operations():  # type: ignore[no-untyped-call]
        warnings.filterwarnings("ignore", ".*copying from a non-meta parameter")  # torch takes ours for empty ones
        torch.__future__.set_swap_module_params_on_conversion(True)  # else a tied weight would come apart on its way
        try:
            yield
        finally:
            torch.__future__.set_swap_module_params_on_conversion(False)


class _Makers(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if func in MAKERS and torch.device(given.get("device") or "cpu").type == PLACE:
            return func(*args, **{**given, "device": "cpu"}).to(PLACE)
        return func(*args, **given)


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch asks this to keep its compiler away from a mode, and imports it for that: a second, and 80 MB."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


def _compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operation on the held values; its result is where the inputs are, or where it was asked for."""
    inputs: list[Tensor] = []
    _each((args, list(kwargs.values())), inputs.append)
    here = any(isinstance(tensor, SecondTensor) for tensor in inputs)
    if any(tensor.is_meta and not isinstance(tensor, SecondTensor) for tensor in inputs):
        raise NotImplementedError(f"{func} has an input that was made on the second device in a way it does not know")
    if here and not _may_mix(func, args, inputs):
        raise RuntimeError(MIXED)
    asked = kwargs.get("device")
    if asked is not None:
        here, kwargs = torch.device(asked).type == PLACE, {**kwargs, "device": torch.device("cpu")}
    with _outside_inference_mode():
        result = func(*_each(args, _held), **{name: _each(value, _held) for name, value in kwargs.items()})
        if torch.Tag.inplace_view in func.tags:  # the shape that torch sees changes too
            with no_dispatch():
                func(*args, **kwargs)
        return _each(result, _placed(inputs, here))


def _each(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """A value with each tensor in it changed; operations take and give tensors and lists of them."""
    if isinstance(value, Tensor):
        return change(value)
    return type(value)([_each(item, change) for item in value]) if isinstance(value, list | tuple) else value


@contextmanager
def _outside_inference_mode() -> Iterator[None]:
    """Leave inference mode, in which torch makes no view of a tensor like ours."""
    if not torch.is_inference_mode_enabled():
        yield
        return
    with torch.inference_mode(False), torch.no_grad():
        yield


def _may_mix(func: Any, args: Any, inputs: list[Tensor]) -> bool:
    """Whether these inputs may stand together, by the rules of CUDA: all here, but for numbers, copies and indices."""
    name = func._schema.name.removeprefix("aten::")
    if name == "copy_":
        return True
    if name in ("index", "index_put", "index_put_", "_index_put_impl_") and isinstance(args[0], SecondTensor):
        inputs = [args[0], *(argument for argument in args[2:] if isinstance(argument, Tensor))]
    return all(isinstance(tensor, SecondTensor) or tensor.ndim == 0 for tensor in inputs)


def _index(index: Any) -> Any:
    """An index with its lists as tensors of the CPU; torch would make them here, out of our sight."""
    if isinstance(index, tuple):
        return tuple(map(_index, index))
    return torch.tensor(index) if isinstance(index, list) else index


def _held(value: Tensor) -> Tensor:
    return value.held if isinstance(value, SecondTensor) else value


def _placed(inputs: list[Tensor], here: bool) -> Callable[[Tensor], Tensor]:
    """How a result comes back: an input that was changed as itself, a new tensor on the device."""
    known = {id(_held(tensor)): tensor for tensor in inputs}

    def place(value: Tensor) -> Tensor:
        return known.get(id(value), SecondTensor(value) if here else value)

    return place
