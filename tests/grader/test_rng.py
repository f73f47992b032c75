"""The inputs of a check: the same bits everywhere, their float64 twins, and their moved twins."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from grader.rng import NATIVE, WIDE, Mode, Rng, seed_from

DTYPES = ["float16", "bfloat16", "float32", "float64"]


def drawn(mode: Mode, dtype: str = "float32") -> list[Tensor]:
    """A bit of everything, in one order."""
    rng = Rng(11, mode)
    return [
        rng.randn(4, 5, dtype=dtype, scale=3.0, shift=-1.0),
        rng.integers(-5, 9, 7, dtype=dtype),
        rng.bools(6),
        rng.integers(0, 9, 3),
        rng.randn(2, 3, dtype=dtype, contiguous=False),
    ]


# --- the same bits on every machine ---


def test_draws_are_the_pinned_bits() -> None:
    rng = Rng(7)
    assert rng.randn(2, 2).tolist() == [
        [0.20384685695171356, 1.38805091381073],
        [1.1527271270751953, -1.0554684400558472],
    ]
    assert rng.randn(3, dtype="bfloat16").tolist() == [-1.0859375, -0.84765625, -0.58984375]
    assert rng.randn(2, dtype="float64").tolist() == [-1.0851746545223708, -0.39889286557978915]
    assert rng.integers(-3, 10, 6).tolist() == [-3, -2, -3, 4, 1, 8]
    assert rng.bools(6).tolist() == [True, False, True, False, True, False]


def test_fill_gives_the_pinned_bits() -> None:
    layer = Rng(7).fill(nn.Linear(2, 2))
    assert layer.weight.tolist() == [
        [1.111476182937622, -0.20123371481895447],
        [-1.2636909484863281, -0.08063925057649612],
    ]
    assert layer.bias.tolist() == [-0.4651239216327667, 0.0888146460056305]


def test_seed_from_is_pinned_and_depends_on_every_part() -> None:
    assert seed_from(1, "a") == 14595560588770519299
    assert len({seed_from(1, "a"), seed_from(2, "a"), seed_from(1, "b"), seed_from(1, "a", 0), seed_from("1a")}) == 5


def test_same_seed_draws_the_same_and_another_seed_does_not() -> None:
    assert all(map(torch.equal, drawn(NATIVE), drawn(NATIVE)))
    assert not torch.equal(Rng(1).randn(8), Rng(2).randn(8))


@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (2, 0)])
def test_small_and_empty_shapes_are_drawn(shape: tuple[int, ...]) -> None:
    assert Rng(0).randn(*shape).shape == shape
    assert Rng(0).integers(0, 5, *shape).shape == shape


# --- the modes ---


@pytest.mark.parametrize("dtype", DTYPES)
def test_float64_twin_is_the_native_values_widened(dtype: str) -> None:
    for native, wide in zip(drawn(NATIVE, dtype), drawn(WIDE, dtype), strict=True):
        widened = native.double() if native.is_floating_point() else native
        assert wide.dtype == widened.dtype
        assert torch.equal(wide, widened)


@pytest.mark.parametrize("dtype", DTYPES)
def test_moved_inputs_differ_by_one_epsilon_of_their_own_dtype(dtype: str) -> None:
    wide, moved = Rng(3, WIDE).randn(500, dtype=dtype), Rng(3, Mode(True, 1)).randn(500, dtype=dtype)
    relative = (moved - wide).abs() / wide.abs()
    epsilon = torch.finfo(getattr(torch, dtype)).eps
    assert moved.dtype == torch.float64
    assert relative.max() <= epsilon * (1 + 1e-6) + torch.finfo(torch.float64).eps
    assert relative[wide != 0].min() >= epsilon * (1 - 1e-6) - torch.finfo(torch.float64).eps
    assert 150 < (moved > wide).sum() < 350


def test_draws_of_the_moves_differ_from_each_other_and_repeat() -> None:
    first, second, again = (Rng(3, Mode(True, n)).randn(50) for n in (1, 2, 1))
    assert not torch.equal(first, second)
    assert torch.equal(first, again)


def test_integers_and_bools_never_move() -> None:
    for dtype in ("int64", "int32", "float32", "bfloat16"):
        wide, moved = (Rng(3, mode).integers(-9, 9, 40, dtype=dtype) for mode in (WIDE, Mode(True, 1)))
        assert torch.equal(wide, moved)
    assert torch.equal(Rng(3, Mode(True, 1)).bools(40), Rng(3).bools(40))


def test_moving_one_input_leaves_the_values_of_the_next_alone() -> None:
    pairs = list(zip(drawn(WIDE), drawn(Mode(True, 1)), strict=True))
    for wide, moved in pairs:
        assert (moved.double() - wide.double()).abs().max() < 1e-5


# --- what is drawn ---


@pytest.mark.parametrize("mode", [NATIVE, WIDE, Mode(True, 2)])
def test_non_contiguous_has_the_same_values_in_another_layout(mode: Mode) -> None:
    plain, turned = (Rng(5, mode).randn(3, 4, 5, contiguous=c) for c in (True, False))
    assert torch.equal(plain, turned)
    assert (plain.is_contiguous(), turned.is_contiguous()) == (True, False)
    assert turned.stride() == (1, 3, 12)


def test_randn_has_the_moments_of_a_bell() -> None:
    x = Rng(1).randn(200_000, dtype="float64")
    assert abs(x.mean()) < 0.01
    assert abs(x.std() - 1) < 0.01
    assert abs((x**3).mean()) < 0.03
    assert abs((x**4).mean() - 2.7) < 0.05  # four summed uniforms have a little less than the 3 of a normal
    assert x.abs().max() < 3.47


def test_scale_and_shift_are_the_deviation_and_the_mean() -> None:
    x, y = Rng(1).randn(100, dtype="float64"), Rng(1).randn(100, dtype="float64", scale=0.5, shift=3.0)
    torch.testing.assert_close(y, 0.5 * x + 3.0, rtol=0, atol=1e-14)


def test_requires_grad_makes_a_leaf_in_every_mode() -> None:
    for mode in (NATIVE, WIDE, Mode(True, 1)):
        x = Rng(1, mode).randn(3, requires_grad=True, dtype="float16")
        assert x.requires_grad
        assert x.is_leaf
    assert not Rng(1).randn(3).requires_grad


def test_integers_reach_both_ends_and_not_beyond() -> None:
    x = Rng(2).integers(-2, 3, 400)
    assert x.dtype == torch.int64
    assert x.unique().tolist() == [-2, -1, 0, 1, 2]


@pytest.mark.parametrize("share", [0.0, 0.2, 0.8, 1.0])
def test_bools_are_true_in_their_share(share: float) -> None:
    x = Rng(2).bools(50, 100, share=share)
    assert x.dtype == torch.bool
    assert abs(x.double().mean() - share) <= (0.03 if 0 < share < 1 else 0)


# --- fill ---


def block(*names: str) -> nn.ModuleDict:
    """A linear layer and a norm under these names, registered in this order."""
    made: dict[str, nn.Module] = {"proj": nn.Linear(6, 4), "norm": nn.LayerNorm(5)}
    return nn.ModuleDict(OrderedDict((name, made[name]) for name in names))


def values_of(module: nn.Module) -> dict[str, list[float]]:
    return {name: parameter.flatten().tolist() for name, parameter in sorted(module.named_parameters())}


def test_fill_goes_by_name_whatever_the_order_of_registration() -> None:
    assert values_of(Rng(4).fill(block("proj", "norm"))) == values_of(Rng(4).fill(block("norm", "proj")))


def test_fill_of_a_shared_parameter_does_not_depend_on_the_order_of_registration() -> None:
    def tied(*names: str) -> nn.Module:
        layers = {"embedding": nn.Embedding(5, 3), "head": nn.Linear(3, 5, bias=False)}
        layers["head"].weight = layers["embedding"].weight
        return nn.ModuleDict(OrderedDict((name, layers[name]) for name in names))

    one, other = Rng(4).fill(tied("embedding", "head")), Rng(4).fill(tied("head", "embedding"))
    assert torch.equal(one["head"].weight, other["head"].weight)


def test_fill_does_not_depend_on_what_was_drawn_before_and_draws_nothing() -> None:
    used, fresh = Rng(4), Rng(4)
    used.randn(9)
    assert values_of(used.fill(block("proj"))) == values_of(fresh.fill(block("proj")))
    assert torch.equal(used.randn(3), Rng(4).randn(12)[9:])


def test_fill_gives_each_name_and_each_seed_values_of_its_own() -> None:
    two = Rng(4).fill(nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)}))
    assert not torch.equal(two["a"].weight, two["b"].weight)
    assert not torch.equal(two["a"].weight, Rng(5).fill(nn.ModuleDict({"a": nn.Linear(3, 3)}))["a"].weight)


def test_fill_has_unit_gain_and_no_neutral_vectors() -> None:
    layer = Rng(4).fill(nn.Linear(400, 100))
    norm = Rng(4).fill(nn.LayerNorm(2000))
    assert abs(layer.weight.std() - 400**-0.5) < 0.001
    assert abs(norm.bias.mean()) < 0.05
    assert abs(norm.weight.mean() - 1) < 0.05
    assert abs(norm.bias.std() - 0.5) < 0.03
    assert abs(norm.weight.std() - 0.5) < 0.03


def test_fill_takes_every_axis_but_the_first_as_fan_in() -> None:
    assert abs(Rng(4).fill(nn.Conv2d(16, 64, 5)).weight.std() * (16 * 25) ** 0.5 - 1) < 0.02


@pytest.mark.parametrize("dtype", DTYPES)
def test_fill_widens_the_values_of_the_native_dtype(dtype: str) -> None:
    native, wide = Rng(4).fill(block("proj", "norm"), dtype), Rng(4, WIDE).fill(block("proj", "norm"), dtype)
    assert {parameter.dtype for parameter in native.parameters()} == {getattr(torch, dtype)}
    assert {parameter.dtype for parameter in wide.parameters()} == {torch.float64}
    assert values_of(native) == values_of(wide)


def test_fill_moves_weights_as_inputs_are_moved() -> None:
    wide, moved = (Rng(4, mode).fill(nn.Linear(30, 20)).weight for mode in (WIDE, Mode(True, 1)))
    epsilon = torch.finfo(torch.float32).eps
    torch.testing.assert_close((moved / wide - 1).abs(), torch.full_like(wide, epsilon), rtol=1e-6, atol=0)


def test_fill_returns_the_module_with_parameters_that_still_learn() -> None:
    layer = nn.Linear(3, 2)
    assert Rng(4).fill(layer) is layer
    assert layer.weight.requires_grad
    assert layer.weight.is_leaf


# --- the global generators ---


def test_global_generators_are_neither_used_nor_changed() -> None:
    states = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        layer = block("proj", "norm")
        before = torch.get_rng_state(), np.random.get_state()[1].tolist()
        states.append((drawn(NATIVE), values_of(Rng(4).fill(layer))))
        assert torch.equal(torch.get_rng_state(), before[0])
        assert np.random.get_state()[1].tolist() == before[1]
    assert all(map(torch.equal, states[0][0], states[1][0]))
    assert states[0][1] == states[1][1]
