"""The reference of module 2 against torch's own layers, and given against the same oracles."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jaxtyping
import pytest
import torch
from beartype import beartype
from torch import Tensor, nn
from torch.nn import functional as F

from assignments.given import block as given
from reference import block

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
# relative to values of about one; half precision rounds every intermediate result of an oracle of its own
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 5e-2, torch.float16: 6e-3}
BOTH = pytest.mark.parametrize("impl", [block, given], ids=["reference", "given"])
EVERY_DTYPE = pytest.mark.parametrize("dtype", DTYPES, ids=str)
TORCH_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
}
MASK = torch.rand(5, 5, generator=torch.Generator().manual_seed(3)) < 0.6


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype).requires_grad_()


def filled(module: nn.Module, dtype: torch.dtype = torch.float64) -> Any:
    """A module whose parameters are all away from their neutral values, drawn by name."""
    for seed, (name, parameter) in enumerate(sorted(module.named_parameters())):
        values = randn(*parameter.shape, seed=seed).detach()
        if parameter.ndim > 1:
            values = values / parameter.shape[-1] ** 0.5
        else:
            values = 0.3 * values + (0.0 if name.endswith("bias") else 1.0)
        parameter.data = values.to(dtype)
    return module


def same(got: Tensor, right: Tensor) -> None:
    """Equal in dtype and shape, and in value as far as the dtype can tell beside the largest value."""
    tolerance = TOLERANCE[got.dtype]
    largest = right.detach().abs().max().item()
    torch.testing.assert_close(got, right, rtol=tolerance, atol=tolerance * max(1.0, largest))


def same_with_gradients(
    ours: Callable[..., Tensor],
    oracle: Callable[..., Tensor],
    x: Tensor,
    parameters: list[tuple[Tensor, Tensor]] | None = None,
) -> None:
    """The output of both, and the gradients of x and of every pair of parameters."""
    one, other = x.detach().requires_grad_(), x.detach().requires_grad_()
    got, right = ours(one), oracle(other)
    same(got, right)
    upstream = randn(*got.shape, seed=99, dtype=got.dtype).detach()
    mine, theirs = zip(*(parameters or []), strict=True) if parameters else ((), ())
    for a, b in zip(
        torch.autograd.grad(got, [one, *mine], upstream),
        torch.autograd.grad(right, [other, *theirs], upstream),
        strict=True,
    ):
        same(a, b)


def by_name(ours: nn.Module, oracle: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Copy the parameters into an oracle that has the same names, and pair them."""
    oracle.load_state_dict(ours.state_dict())
    theirs = dict(oracle.named_parameters())
    return [(parameter, theirs[name]) for name, parameter in ours.named_parameters()]


# --- norms ---


@BOTH
@EVERY_DTYPE
@pytest.mark.parametrize("leading", [(), (4,), (2, 3)])
@pytest.mark.parametrize("eps", [{}, {"eps": 0.3}], ids=["default eps", "eps"])
def test_layer_norm_is_that_of_torch(impl: Any, dtype: torch.dtype, leading: tuple[int, ...], eps: Any) -> None:
    ours, oracle = filled(impl.LayerNorm(7, **eps), dtype), nn.LayerNorm(7, **eps, dtype=dtype)
    x = (randn(*leading, 7, scale=2.0) + 1.5).to(dtype)
    same_with_gradients(ours, oracle, x, by_name(ours, oracle))


@BOTH
@EVERY_DTYPE
@pytest.mark.parametrize("leading", [(), (4,), (2, 3)])
def test_rms_norm_is_that_of_torch(impl: Any, dtype: torch.dtype, leading: tuple[int, ...]) -> None:
    ours, oracle = filled(impl.RMSNorm(7), dtype), nn.RMSNorm(7, eps=1e-5, dtype=dtype)
    x = (randn(*leading, 7, scale=2.0) + 1.5).to(dtype)
    same_with_gradients(ours, oracle, x, by_name(ours, oracle))


def test_norms_begin_as_those_of_torch() -> None:
    for ours, oracle in ((block.LayerNorm(5), nn.LayerNorm(5)), (block.RMSNorm(5), nn.RMSNorm(5))):
        assert {name: p.tolist() for name, p in ours.named_parameters()} == {
            name: p.tolist() for name, p in oracle.named_parameters()
        }


@BOTH
@pytest.mark.parametrize("name", ["LayerNorm", "RMSNorm"])
def test_norms_of_half_precision_do_not_overflow(impl: Any, name: str) -> None:
    x = randn(3, 6, dtype=torch.float16, scale=4000.0)
    for parameters in (torch.float16, torch.float32):
        layer = filled(getattr(impl, name)(6), parameters)
        wide = filled(getattr(nn, name)(6, eps=1e-5))
        same(layer(x), wide(x.double()).to(torch.float16))


@BOTH
def test_layer_norm_of_equal_entries_is_the_bias(impl: Any) -> None:
    layer, x = filled(impl.LayerNorm(8)), torch.full((3, 8), 2.5, dtype=torch.float64).requires_grad_()
    assert torch.equal(layer(x), layer.bias.expand(3, 8))
    (gradient,) = torch.autograd.grad(layer(x), x, randn(3, 8).detach())
    assert gradient.isfinite().all()


# --- activations ---


@BOTH
@EVERY_DTYPE
@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_is_that_of_torch(impl: Any, dtype: torch.dtype, approximate: str) -> None:
    x = torch.cat([randn(4, 50, scale=1.5), 100 * randn(4, 2, seed=1)], dim=1).to(dtype)
    same_with_gradients(partial(impl.gelu, approximate=approximate), partial(F.gelu, approximate=approximate), x)


@BOTH
@EVERY_DTYPE
def test_silu_is_that_of_torch(impl: Any, dtype: torch.dtype) -> None:
    x = torch.cat([randn(4, 50, scale=2.0), 500 * randn(4, 2, seed=1)], dim=1).to(dtype)
    same_with_gradients(impl.silu, F.silu, x)


def test_gelu_is_exact_by_default() -> None:
    x = randn(20)
    assert torch.equal(block.gelu(x), block.gelu(x, "none"))
    by_hand = [v * (1 + math.erf(v / math.sqrt(2))) / 2 for v in x.tolist()]
    same(block.gelu(x), torch.tensor(by_hand, dtype=torch.float64))


# --- feed-forward layers ---


@BOTH
@EVERY_DTYPE
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", list(TORCH_ACTIVATIONS))
def test_feed_forward_is_that_of_torch(impl: Any, dtype: torch.dtype, bias: bool, activation: str) -> None:
    ours = filled(impl.FeedForward(6, 10, activation=activation, bias=bias), dtype)
    up, down = nn.Linear(6, 10, bias, dtype=dtype), nn.Linear(10, 6, bias, dtype=dtype)
    pairs = by_name(ours.up_proj, up) + by_name(ours.down_proj, down)
    x = randn(2, 3, 6, dtype=dtype)
    same_with_gradients(ours, lambda x: down(TORCH_ACTIVATIONS[activation](up(x))), x, pairs)


@BOTH
@EVERY_DTYPE
@pytest.mark.parametrize("bias", [True, False])
def test_swiglu_is_that_of_torch(impl: Any, dtype: torch.dtype, bias: bool) -> None:
    ours = filled(impl.SwiGLU(6, 10, bias=bias), dtype)
    gate, up = nn.Linear(6, 10, bias, dtype=dtype), nn.Linear(6, 10, bias, dtype=dtype)
    down = nn.Linear(10, 6, bias, dtype=dtype)
    pairs = by_name(ours.gate_proj, gate) + by_name(ours.up_proj, up) + by_name(ours.down_proj, down)
    same_with_gradients(ours, lambda x: down(F.silu(gate(x)) * up(x)), randn(2, 3, 6, dtype=dtype), pairs)


# --- Dropout ---


@BOTH
@EVERY_DTYPE
def test_dropout_gives_the_values_of_torch(impl: Any, dtype: torch.dtype) -> None:
    """Torch draws by itself, so its own result says what was kept."""
    x = (randn(40, 30).abs() + 0.5).to(dtype)  # no zeros but those of dropout
    with torch.random.fork_rng():
        torch.manual_seed(0)
        right = F.dropout(x, 0.3)
    layer = impl.Dropout(0.3)
    layer.keep_mask = lambda shape, generator=None, device=None: right != 0
    same(layer(x), right)
    assert torch.equal(layer.eval()(x), nn.Dropout(0.3).eval()(x))


@BOTH
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_keep_mask_keeps_its_share_of_rows_and_columns(impl: Any, p: float) -> None:
    keep = impl.Dropout(p).keep_mask((400, 300), torch.Generator().manual_seed(0)).double()
    for shares, count in ((keep.mean(dim=1), 300), (keep.mean(dim=0), 400), (keep.mean()[None], 120_000)):
        deviation = math.sqrt(p * (1 - p) / count)
        assert ((shares - (1 - p)).abs() < 5 * deviation).all()
        assert len(shares) == 1 or 0.8 < shares.std().item() / deviation < 1.2


@BOTH
def test_keep_mask_draws_from_the_generator_alone(impl: Any) -> None:
    layer, before = impl.Dropout(0.5), torch.get_rng_state()
    generator = torch.Generator().manual_seed(3)
    first, second = layer.keep_mask((9, 9), generator), layer.keep_mask([9, 9], generator)
    assert torch.equal(first, layer.keep_mask(torch.Size((9, 9)), torch.Generator().manual_seed(3)))
    assert not torch.equal(first, second)
    assert torch.equal(before, torch.get_rng_state())


# --- TransformerBlock ---


def torch_block(ours: nn.Module, norm: str, activation: str, bias: bool, dtype: torch.dtype) -> tuple[Any, list[Any]]:
    """torch's encoder layer with the weights of ours; q, k and v lie in one matrix there, and its norms' biases."""
    oracle = nn.TransformerEncoderLayer(
        6, 2, 10, 0.0, TORCH_ACTIVATIONS[activation], norm_first=norm == "pre", batch_first=True, dtype=dtype
    )
    mine, theirs = dict(ours.named_parameters()), dict(oracle.named_parameters())
    names = {
        "self_attn.out_proj": "attention.out_proj",
        "linear1": "feed_forward.up_proj",
        "linear2": "feed_forward.down_proj",
        "norm1": "norm1",
        "norm2": "norm2",
    }
    pairs = []
    for kind in ("weight", "bias"):
        parts = [mine.get(f"attention.{part}_proj.{kind}", torch.zeros(6, dtype=dtype)) for part in "qkv"]
        theirs[f"self_attn.in_proj_{kind}"].data = torch.cat(parts).detach()
        for their_name, my_name in names.items():
            parameter = theirs[f"{their_name}.{kind}"]
            if f"{my_name}.{kind}" in mine:
                parameter.data = mine[f"{my_name}.{kind}"].detach().clone()
                pairs.append((mine[f"{my_name}.{kind}"], parameter))
            else:
                assert not bias
                parameter.data = torch.zeros_like(parameter)
    return oracle, pairs


@BOTH
@EVERY_DTYPE
@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize(("activation", "bias"), [("gelu_tanh", True), ("gelu", False), ("silu", True)])
def test_block_is_that_of_torch(impl: Any, dtype: torch.dtype, norm: str, activation: str, bias: bool) -> None:
    ours = filled(impl.TransformerBlock(6, 2, 10, norm, activation, bias), dtype)
    oracle, pairs = torch_block(ours, norm, activation, bias, dtype)
    forbidden = ~torch.ones(5, 5, dtype=torch.bool).tril()  # in torch True means: may not
    same_with_gradients(ours, partial(oracle, src_mask=forbidden), randn(3, 5, 6, dtype=dtype), pairs)


@BOTH
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_block_passes_masks_on(impl: Any, norm: str) -> None:
    ours = filled(impl.TransformerBlock(6, 2, 10, norm))
    oracle, pairs = torch_block(ours, norm, "gelu_tanh", True, torch.float64)
    mask = MASK | torch.eye(5, dtype=torch.bool)
    x = randn(3, 5, 6)
    same_with_gradients(lambda x: ours(x, mask, causal=False), lambda x: oracle(x, src_mask=~mask), x, pairs)
    same_with_gradients(lambda x: ours(x, mask), lambda x: oracle(x, src_mask=~mask.tril()), x, pairs)


@BOTH
def test_block_gradient_of_the_fused_matrix_is_that_of_its_three_parts(impl: Any) -> None:
    ours = filled(impl.TransformerBlock(6, 2, 10))
    oracle, _ = torch_block(ours, "pre", "gelu_tanh", True, torch.float64)
    x, upstream = randn(3, 5, 6), randn(3, 5, 6, seed=9).detach()
    ours(x).backward(upstream)
    oracle(x, src_mask=~torch.ones(5, 5, dtype=torch.bool).tril()).backward(upstream)
    for kind in ("weight", "bias"):
        parts = [getattr(getattr(ours.attention, f"{part}_proj"), kind).grad for part in "qkv"]
        same(torch.cat(parts), getattr(oracle.self_attn, f"in_proj_{kind}").grad)


@BOTH
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_block_drops_what_its_parts_give(impl: Any, norm: str) -> None:
    """Two draws a call, the same ones for the same state, none in evaluation mode."""
    layer, x = filled(impl.TransformerBlock(6, 2, 10, norm, dropout=0.4)), randn(3, 5, 6).detach()
    first, again = (layer(x, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, layer(x, generator=torch.Generator().manual_seed(2)))
    same(layer.eval()(x), filled(impl.TransformerBlock(6, 2, 10, norm))(x))


@BOTH
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_block_does_not_see_the_future(impl: Any, norm: str) -> None:
    layer, x = filled(impl.TransformerBlock(6, 2, 10, norm)), randn(2, 5, 6)
    (gradient,) = torch.autograd.grad(layer(x)[0, 2].square().sum(), x)
    assert gradient[0, :3].any(dim=-1).all()
    assert not gradient[0, 3:].any()
    assert not gradient[1].any()


def test_reference_and_given_load_each_other() -> None:
    for one, other in ((block, given), (given, block)):
        first, second = (impl.TransformerBlock(6, 2, 10) for impl in (one, other))
        second.double().load_state_dict(filled(first).state_dict())
        x = randn(2, 5, 6)
        same(second(x), first(x))


# --- gradients by finite differences ---


@pytest.mark.parametrize(
    "layer",
    [
        block.LayerNorm(4),
        block.RMSNorm(4),
        block.SwiGLU(4, 3),
        block.TransformerBlock(4, 2, 3, "pre"),
        block.TransformerBlock(4, 2, 3, "post"),
    ],
    ids=["LayerNorm", "RMSNorm", "SwiGLU", "pre", "post"],
)
def test_gradients_are_those_of_finite_differences(layer: nn.Module) -> None:
    filled(layer)
    names = list(dict(layer.named_parameters()))

    def call(x: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))  # type: ignore[no-any-return]

    assert torch.autograd.gradcheck(call, [randn(1, 3, 4), *(p.detach().requires_grad_() for p in layer.parameters())])


# --- errors ---

REFUSED = [
    (
        lambda impl: impl.gelu(torch.zeros(2), "exact"),
        "approximate",
        "^approximate must be 'none' or 'tanh', got 'exact'$",
    ),
    (
        lambda impl: impl.FeedForward(3, 4, activation="relu"),
        "activation",
        "^activation must be 'gelu', 'gelu_tanh' or 'silu', got 'relu'$",
    ),
    (lambda impl: impl.Dropout(1.0), "p", r"^p must be at least 0 and below 1, got p=1\.0$"),
    (lambda impl: impl.Dropout(-0.1), "p", r"^p must be at least 0 and below 1, got p=-0\.1$"),
    (lambda impl: impl.TransformerBlock(6, 2, 4, "both"), "norm", "^norm must be 'pre' or 'post', got 'both'$"),
]


@pytest.mark.parametrize(("call", "name", "says"), REFUSED, ids=[name for _, name, _ in REFUSED])
def test_wrong_arguments_are_refused_by_name(call: Callable[[Any], Any], name: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        call(block)
    with pytest.raises(ValueError, match=rf"\b{name}\b"):
        call(given)


# --- the annotations are true ---

checked = jaxtyping.jaxtyped(typechecker=beartype)


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The reference with every call checked against its annotations, the calls among its own functions too."""
    for name in ("gelu", "silu"):
        monkeypatch.setattr(block, name, checked(getattr(block, name)))
    for name in ("LayerNorm", "RMSNorm", "FeedForward", "SwiGLU", "Dropout", "TransformerBlock"):
        layer = getattr(block, name)
        monkeypatch.setattr(layer, "forward", checked(layer.forward))
    monkeypatch.setattr(block.Dropout, "keep_mask", checked(block.Dropout.keep_mask))
    return block


@EVERY_DTYPE
def test_annotations_hold_for_every_task(typed: Any, dtype: torch.dtype) -> None:
    x = randn(2, 5, 6, dtype=dtype)
    for mask in (None, torch.ones(2, 1, 1, 5, dtype=torch.bool), torch.ones(5, 5, dtype=torch.bool)):
        layer = typed.TransformerBlock(6, 2, 10, dropout=0.2).to(dtype)
        assert layer(x, mask, generator=torch.Generator()).shape == (2, 5, 6)
    for layer in (typed.RMSNorm(6), typed.SwiGLU(6, 10).to(dtype), typed.FeedForward(6, 10, "silu").to(dtype)):
        assert layer(x[0, 0]).shape == (6,)
    assert typed.gelu(x[0], "tanh").shape == (5, 6)


def test_annotations_refuse_what_does_not_fit(typed: Any) -> None:
    calls = (
        lambda: typed.gelu(torch.zeros(3, dtype=torch.int64)),
        lambda: typed.TransformerBlock(6, 2, 10)(torch.zeros(5, 6)),
        lambda: typed.TransformerBlock(6, 2, 10)(torch.zeros(2, 5, 6), torch.ones(5, 5)),
    )
    for call in calls:
        with pytest.raises(jaxtyping.TypeCheckError):
            call()
