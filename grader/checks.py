"""What a check file imports: the mark `graded`, and what a check often returns: `gradients`, `registered`.

A check is a pytest function of an implementation. It returns what it saw (tensors, numbers, strings, lists or dicts
of them) and never judges it: comparing is done elsewhere, by a process that has not run the student's code.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor, nn

Function = TypeVar("Function", bound=Callable[..., Any])
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Grading:
    """What `graded` knows about a check."""

    task: str
    weight: float
    rows: tuple[Row, ...]
    pins: str
    second_device: bool | None
    draws: bool


def graded(
    task: str,
    weight: float = 1,
    rows: Sequence[Row] = ({},),
    pins: str = "",
    second_device: bool | None = None,
    draws: bool = False,
) -> Callable[[Function], Function]:
    """Mark a function as a check of one task.

    Args:
        task: the function or class it grades, as course.toml names it.
        weight: its share of the task's points, relative to the other checks of the task.
        rows: the public arguments, one mapping a row; the check passes when all its rows pass. Hidden rows of the
            same check stand in hidden_MODULE.toml beside the check file.
        pins: the edge or dtype of the specification that only this check looks at, if it kills no mutant that
            another check does not.
        second_device: True runs it, where there is no GPU, on a device whose tensors do not mix with the CPU's, so that
            a tensor left behind shows; False keeps it off that device, which knows no autocast and cannot be saved.
        draws: it compares values that depend on what rng.generator gives: a GPU's numbers are not those of a CPU, so
            there the truth is computed on the GPU too.
    """

    def mark(function: Function) -> Function:
        function.graded = Grading(task, weight, tuple(rows), pins, second_device, draws)  # type: ignore[attr-defined]
        return function

    return mark


def gradients(output: "Tensor", upstream: "Tensor", **inputs: "Tensor") -> dict[str, "Tensor | None"]:
    """The output, and the gradient of sum(output * upstream) for each input under its name; None where none arrives.

    An output without a graph, of another shape or no tensor at all gives None for every gradient: then the comparison
    speaks of the output itself, or of a missing gradient, and not of an error here.
    """
    import torch

    results: dict[str, Tensor | None] = {"output": output} | {f"gradient of {name}": None for name in inputs}
    if isinstance(output, torch.Tensor) and output.requires_grad:
        upstream = upstream if output.shape == upstream.shape else torch.ones_like(output)  # the shape speaks
        # Of a scalar: for the gradient of a tensor torch imports its symbolic shapes, 484 modules.
        found = torch.autograd.grad((output * upstream).sum(), list(inputs.values()), allow_unused=True)
        results |= {f"gradient of {name}": gradient for name, gradient in zip(inputs, found, strict=True)}
    return results


def registered(module: "nn.Module") -> dict[str, dict[str, str]]:
    """What a module registers: name → shape of the parameters and of everything in its state dict.

    A shared parameter stands under all its names: which comes first depends on the order of registration.
    """
    parameters = dict(module.named_parameters(remove_duplicate=False))
    found = {"parameters": parameters, "state_dict": module.state_dict()}
    return {
        what: {name: str(tuple(tensor.shape)) for name, tensor in sorted(tensors.items())}
        for what, tensors in found.items()
    }
