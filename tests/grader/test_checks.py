"""What check files import."""

import torch
from torch import nn

from grader import gradients, registered


def test_registered_tells_parameters_and_state_dict_by_name_and_shape() -> None:
    layer = nn.BatchNorm1d(3)
    layer.unseen = [nn.Linear(2, 5)]  # type: ignore[assignment]
    found = registered(layer)
    assert found["parameters"] == {"bias": "(3,)", "weight": "(3,)"}
    assert sorted(found["state_dict"]) == ["bias", "num_batches_tracked", "running_mean", "running_var", "weight"]


def test_registered_tells_a_shared_parameter_under_both_its_names() -> None:
    pair = nn.ModuleList([nn.Linear(2, 3, bias=False)] * 2)
    found = registered(pair)
    both = {"0.weight": "(3, 2)", "1.weight": "(3, 2)"}
    assert found == {"parameters": both, "state_dict": both}


def test_gradients_of_an_input_that_is_not_used_is_none() -> None:
    x, y = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    found = gradients(3 * x, torch.tensor([1.0, 2.0]), x=x, y=y)
    assert torch.equal(found["gradient of x"], torch.tensor([3.0, 6.0]))  # type: ignore[arg-type]
    assert found["gradient of y"] is None


def test_gradients_of_a_detached_output_are_none() -> None:
    x = torch.ones(2, requires_grad=True)
    found = gradients(x.detach(), torch.ones(2), x=x)
    assert found["gradient of x"] is None
