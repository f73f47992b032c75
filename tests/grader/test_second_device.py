"""A device that refuses to mix with the CPU, without a GPU."""

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from grader.outcome import TensorLeaf, flatten
from grader.second_device import MIXED, PLACE, SecondTensor, present


@pytest.fixture(autouse=True)
def _present() -> Iterator[None]:
    with present():
        yield


def there(*values: float) -> Tensor:
    return torch.tensor(values, device=PLACE)


@pytest.mark.parametrize(
    "made",
    [
        lambda: torch.zeros(2, device=PLACE),
        lambda: torch.tensor([1.0, 2.0], device=PLACE),
        lambda: torch.as_tensor([1.0, 2.0], device=torch.device(PLACE)),
        lambda: torch.arange(2).to(PLACE),
        lambda: torch.zeros_like(there(1.0, 2.0)),
        lambda: there(1.0).new_tensor([3.0, 4.0]),
        lambda: there(1.0).new_ones(2),
        lambda: torch.rand(2, device=PLACE, generator=torch.Generator()),
    ],
    ids=["zeros", "tensor", "as_tensor", "to", "zeros_like", "new_tensor", "new_ones", "rand"],
)
def test_whatever_is_made_there_has_values_and_says_where_it_is(made: object) -> None:
    tensor = made()  # type: ignore[operator]
    assert type(tensor) is SecondTensor
    assert tensor.device.type == PLACE
    assert len(tensor.tolist()) == 2


@pytest.mark.parametrize(
    "mix",
    [
        lambda x: x + torch.ones(2),
        lambda x: torch.ones(2) + x,
        lambda x: x.masked_fill(torch.tensor([True, False]), 0.0),
        lambda x: torch.cat([x, torch.ones(1)]),
        lambda x: torch.ones(3)[x.long()],
        lambda x: nn.functional.embedding(torch.tensor([0]), x[None]),
    ],
    ids=["plus", "plus from the left", "masked_fill", "cat", "index of the CPU's", "embedding"],
)
def test_an_operation_on_both_devices_is_refused_as_on_a_gpu(mix: object) -> None:
    with pytest.raises(RuntimeError, match=MIXED):
        mix(there(1.0, 2.0))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("allowed", "gives"),
    [
        (lambda x: x * torch.tensor(2.0), [2.0, 4.0]),
        (lambda x: x[torch.tensor([1, 0])], [2.0, 1.0]),
        (lambda x: x[[1, 1]], [2.0, 2.0]),
        (lambda x: x[torch.tensor([False, True])], [2.0]),
        (lambda x: x.copy_(torch.ones(2)), [1.0, 1.0]),
        (lambda x: torch.ones(2).copy_(x), [1.0, 2.0]),
    ],
    ids=["a number", "an index", "a list", "a mask as index", "a copy there", "a copy back"],
)
def test_numbers_indices_and_copies_may_come_from_the_cpu(allowed: object, gives: list[float]) -> None:
    assert allowed(there(1.0, 2.0)).tolist() == gives  # type: ignore[operator]


def test_writing_into_a_part_changes_the_whole() -> None:
    x = torch.zeros(2, 3, device=PLACE)
    x[0, [0, 2]] = 1.5
    x[1] += 1
    assert x.tolist() == [[1.5, 0.0, 1.5], [1.0, 1.0, 1.0]]


def test_a_shape_changed_in_place_is_known_to_torch() -> None:
    x = there(1.0, 2.0)
    x.unsqueeze_(0)
    assert x.shape == (1, 2)
    assert (x + 1).tolist() == [[2.0, 3.0]]


def test_gradients_are_those_of_the_cpu() -> None:
    layer = nn.Linear(3, 2)
    other = copy.deepcopy(layer).to(PLACE)
    x = torch.arange(6.0).reshape(2, 3)
    layer(x).square().sum().backward()
    other(x.to(PLACE)).square().sum().backward()
    for one, two in zip(layer.parameters(), other.parameters(), strict=True):
        assert type(two.grad) is SecondTensor
        torch.testing.assert_close(two.grad.cpu(), one.grad)


def test_a_module_keeps_its_tied_weights_and_its_values_on_the_way_there_and_back() -> None:
    model = nn.ModuleDict({"one": nn.Linear(3, 3), "two": nn.Linear(3, 3)})
    model["two"].weight = model["one"].weight
    before = model["one"].weight.detach().clone()
    model.to(PLACE)
    assert model["one"].weight is model["two"].weight
    assert isinstance(model["one"].weight, nn.Parameter)
    model.half().float().to("cpu")
    torch.testing.assert_close(model["two"].weight.detach(), before, atol=1e-3, rtol=1e-3)


def test_setting_data_sets_the_values() -> None:
    weight = nn.Linear(2, 2).to(PLACE).weight
    weight.data = torch.ones(2, 2, device=PLACE)
    weight.data.mul_(3)
    assert weight.tolist() == [[3.0, 3.0], [3.0, 3.0]]


def test_an_optimizer_of_torch_steps_there() -> None:
    layer = nn.Linear(2, 2).to(PLACE)
    before = layer.weight.tolist()
    layer(torch.ones(1, 2, device=PLACE)).sum().backward()
    torch.optim.AdamW(layer.parameters(), lr=0.1).step()
    assert layer.weight.tolist() != before


def test_inference_mode_works_there() -> None:
    x = torch.zeros(2, 3, device=PLACE)
    with torch.inference_mode():
        x[:, 1] = nn.functional.softmax(x[:, :2], dim=-1)[:, 0]
    x[0, 0] = 5
    assert x.tolist() == [[5.0, 0.5, 0.0], [0.0, 0.5, 0.0]]


def test_a_way_of_making_tensors_that_it_does_not_know_is_told() -> None:
    with torch.utils._mode_utils.no_dispatch():
        empty = torch.zeros(2, device=PLACE)
    with pytest.raises(NotImplementedError, match="in a way it does not know"):
        there(1.0, 2.0) + empty


def test_it_crosses_to_the_judge_with_its_values_and_its_place() -> None:
    [(_, leaf)] = flatten(there(1.0, 2.0))
    assert isinstance(leaf, TensorLeaf)
    assert leaf.device == "second"
    assert type(leaf.values) is Tensor
    assert leaf.values.tolist() == [1.0, 2.0]


def test_a_class_that_calls_itself_one_is_foreign() -> None:
    class Liar(SecondTensor):
        pass

    [(_, leaf)] = flatten(Liar(torch.ones(2)))
    assert not isinstance(leaf, TensorLeaf)
