"""The reference of module 3 against transformers' GPT-2, and given against the same oracle.

The oracle is built from a config and filled at random; nothing is fetched. Ours gets its weights from a file in the
published layout.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch
from beartype import beartype
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from assignments.given import gpt as given
from reference import gpt

transformers = pytest.importorskip("transformers")
BOTH = pytest.mark.parametrize("impl", [gpt, given], ids=["reference", "given"])
SIZES: dict[str, dict[str, Any]] = {
    "two layers": {"vocab_size": 11, "context_length": 8, "d_model": 12, "n_heads": 3, "n_layers": 2},
    "one head": {"vocab_size": 7, "context_length": 5, "d_model": 6, "n_heads": 1, "n_layers": 1, "d_ff": 10},
    "five layers": {"vocab_size": 13, "context_length": 9, "d_model": 8, "n_heads": 4, "n_layers": 5, "d_ff": 20},
}
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4, torch.bfloat16: 1e-1}  # of logits of about one
each_size = pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
tied_or_not = pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])


def config(sizes: Mapping[str, Any], tied: bool) -> Any:
    return transformers.GPT2Config(
        vocab_size=sizes["vocab_size"],
        n_positions=sizes["context_length"],
        n_embd=sizes["d_model"],
        n_head=sizes["n_heads"],
        n_layer=sizes["n_layers"],
        n_inner=sizes.get("d_ff"),
        tie_word_embeddings=tied,
        bos_token_id=0,
        eos_token_id=0,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
    )


def oracle_of(sizes: Mapping[str, Any], tied: bool = True, dtype: torch.dtype = torch.float64) -> Any:
    """A GPT-2 whose weights, norms and biases are all away from their neutral values."""
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config(sizes, tied))
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=parameter.shape[0] ** -0.5)
        else:
            nn.init.normal_(parameter, mean=0.0 if name.endswith("bias") else 1.0, std=0.3)
    return model.to(dtype)


def published(oracle: Any, file: Path, prefix: str = "") -> dict[str, Tensor]:
    """The oracle's weights as a file holds them: without a prefix as OpenAI's, with it as a saved model of theirs."""
    state = {name: tensor.clone() for name, tensor in oracle.state_dict().items()}
    if oracle.config.tie_word_embeddings:
        del state["lm_head.weight"]
    save_file({name if name.startswith("lm_head") else prefix + name.removeprefix("transformer."): tensor
               for name, tensor in state.items()}, file)  # fmt: skip
    return load_file(file)


def ours_of(impl: Any, sizes: Mapping[str, Any], oracle: Any, file: Path, prefix: str = "") -> nn.Module:
    model: nn.Module = impl.GPT(**sizes, tie_weights=oracle.config.tie_word_embeddings)
    model.to(next(oracle.parameters()).dtype)
    impl.load_gpt2_weights(model, published(oracle, file, prefix))
    return model


def ids(sizes: Mapping[str, Any], batch: int = 3, seq_len: int | None = None) -> Tensor:
    shape = (batch, seq_len or sizes["context_length"])
    return torch.randint(sizes["vocab_size"], shape, generator=torch.Generator().manual_seed(1))


def same(got: Tensor, right: Tensor, tolerance: float | None = None) -> None:
    tolerance = TOLERANCE[got.dtype] if tolerance is None else tolerance
    torch.testing.assert_close(got, right, rtol=tolerance, atol=tolerance)


def next_token_loss(logits: Tensor, token_ids: Tensor) -> Tensor:
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), token_ids[:, 1:].flatten())


def by_their_names(model: nn.Module) -> dict[str, Tensor]:
    """Each gradient under the name and in the layout that the oracle has for it."""
    grads = {name: p.grad for name, p in model.named_parameters()}
    names = {ours: theirs for theirs, ours in gpt.GPT2_NAMES.items()}
    found: dict[str, Tensor] = {}
    for name, grad in grads.items():
        path, _, kind = name.rpartition(".")
        layer, part = (
            ("h." + path.split(".")[1] + ".", path.split(".", 2)[2]) if path.startswith("blocks") else ("", path)
        )
        assert grad is not None, name
        if part.startswith("attention.") and not part.endswith("out_proj"):
            parts = [grads[f"blocks.{layer[2:-1]}.attention.{letter}_proj.{kind}"] for letter in "qkv"]
            found[f"transformer.{layer}attn.c_attn.{kind}"] = torch.cat(parts).t()  # type: ignore[arg-type]
        elif part == "lm_head":
            found["lm_head.weight"] = grad
        else:
            theirs = names[part]
            found[f"transformer.{layer}{theirs}.{kind}"] = grad.t() if ".c_" in theirs else grad
    return found


# --- the model ---


@BOTH
@each_size
@tied_or_not
def test_logits_loss_and_every_gradient_are_those_of_transformers(
    impl: Any, sizes: dict[str, Any], tied: bool, tmp_path: Path
) -> None:
    oracle = oracle_of(sizes, tied)
    model = ours_of(impl, sizes, oracle, tmp_path / "model.safetensors")
    token_ids = ids(sizes)
    logits, right = model(token_ids), oracle(token_ids, labels=token_ids)
    same(logits, right.logits)
    loss, their_loss = next_token_loss(logits, token_ids), next_token_loss(right.logits, token_ids)
    same(loss, right.loss.double(), tolerance=1e-6)  # theirs is computed in float32
    loss.backward()
    their_loss.backward()
    ours = by_their_names(model)
    theirs = {name: p.grad for name, p in oracle.named_parameters()}
    assert ours.keys() == theirs.keys()
    for name, gradient in ours.items():
        same(gradient, theirs[name])


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_logits_of_smaller_dtypes_are_those_of_transformers(impl: Any, dtype: torch.dtype, tmp_path: Path) -> None:
    sizes = SIZES["two layers"]
    oracle = oracle_of(sizes, dtype=dtype)
    model = ours_of(impl, sizes, oracle, tmp_path / "model.safetensors", prefix="transformer.")
    same(model(ids(sizes)), oracle(ids(sizes)).logits)


@BOTH
@tied_or_not
def test_training_goes_the_way_of_transformers(impl: Any, tied: bool, tmp_path: Path) -> None:
    """Ten steps of SGD: a head tied by copying, or a shared table that gets half its gradient, would part."""
    sizes = SIZES["two layers"]
    oracle = oracle_of(sizes, tied)
    model = ours_of(impl, sizes, oracle, tmp_path / "model.safetensors")
    losses: list[list[float]] = [[], []]
    for kept, trained in zip(losses, (model, oracle), strict=True):
        optimizer = torch.optim.SGD(trained.parameters(), lr=0.1)
        for _ in range(10):
            logits = trained(ids(sizes)) if trained is model else trained(ids(sizes)).logits
            loss = next_token_loss(logits, ids(sizes))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            kept.append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    assert losses[0][-1] < losses[0][0] - 1


@BOTH
def test_features_are_what_transformers_gives_the_head(impl: Any, tmp_path: Path) -> None:
    sizes = SIZES["two layers"]
    oracle = oracle_of(sizes)
    model: Any = ours_of(impl, sizes, oracle, tmp_path / "model.safetensors")
    same(model.features(ids(sizes, seq_len=4)), oracle.transformer(ids(sizes, seq_len=4)).last_hidden_state)


@BOTH
def test_gpt2_itself_has_124_439_808_parameters(impl: Any) -> None:
    with torch.device("meta"):  # shapes without numbers
        model = impl.GPT(vocab_size=50257, context_length=1024, d_model=768, n_heads=12, n_layers=12)
        oracle = transformers.GPT2LMHeadModel(transformers.GPT2Config())
    assert impl.count_parameters(model) == oracle.num_parameters() == 124_439_808
    assert impl.count_parameters(model, non_embedding=True) == 124_439_808 - (50257 + 1024) * 768


def test_init_weights_spread_as_transformers_draws() -> None:
    sizes = {"vocab_size": 300, "context_length": 50, "d_model": 64, "n_heads": 2, "n_layers": 3}
    torch.manual_seed(0)
    oracle = transformers.GPT2LMHeadModel(config(sizes, tied=True))
    model = gpt.GPT(**sizes)
    gpt.init_weights(model, torch.Generator().manual_seed(0))
    theirs = dict(oracle.transformer.named_parameters())
    for name, ours in (("attn.c_proj", "attention.out_proj"), ("mlp.c_proj", "feed_forward.down_proj")):
        for layer in range(3):
            spread = theirs[f"h.{layer}.{name}.weight"].std().item()
            assert spread == pytest.approx(gpt.init_std(f"blocks.{layer}.{ours}.weight", 3), rel=0.05)
            assert spread == pytest.approx(model.get_parameter(f"blocks.{layer}.{ours}.weight").std().item(), rel=0.1)
    plain = {"wte": "token_embedding", "wpe": "position_embedding", "h.1.mlp.c_fc": "blocks.1.feed_forward.up_proj"}
    for name, ours in plain.items():
        spread = theirs[f"{name}.weight"].std().item()
        assert spread == pytest.approx(gpt.init_std(f"{ours}.weight", 3), rel=0.05)
        assert spread == pytest.approx(model.get_parameter(f"{ours}.weight").std().item(), rel=0.1)


# --- the checkpoint ---


@BOTH
def test_masks_among_the_weights_and_both_styles_of_keys_load(impl: Any, tmp_path: Path) -> None:
    sizes = SIZES["two layers"]
    oracle = oracle_of(sizes)
    for prefix in ("", "transformer."):
        state = published(oracle, tmp_path / "model.safetensors", prefix)
        for layer in range(2):  # as the file of GPT-2 has them
            state[f"{prefix}h.{layer}.attn.bias"] = torch.ones(1, 1, 8, 8).tril()
            state[f"{prefix}h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
        model = impl.GPT(**sizes).double()
        impl.load_gpt2_weights(model, state)
        same(model(ids(sizes)), oracle(ids(sizes)).logits)


@BOTH
def test_untied_checkpoint_is_refused_by_a_tied_model(impl: Any, tmp_path: Path) -> None:
    sizes = SIZES["two layers"]
    state = published(oracle_of(sizes, tied=False), tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"state_dict has a.* of its own"):
        impl.load_gpt2_weights(impl.GPT(**sizes), state)


# --- the filters ---

WARPERS: dict[str, tuple[Callable[[Any, Tensor], Tensor], Callable[[], Any]]] = {
    "temperature": (
        lambda impl, logits: impl.apply_temperature(logits, 0.7),
        lambda: transformers.TemperatureLogitsWarper(0.7),
    ),
    "top_k": (lambda impl, logits: impl.top_k_filter(logits, 4), lambda: transformers.TopKLogitsWarper(4)),
    "top_k of more than all": (
        lambda impl, logits: impl.top_k_filter(logits, 40),
        lambda: transformers.TopKLogitsWarper(40),
    ),
    "top_p": (lambda impl, logits: impl.top_p_filter(logits, 0.8), lambda: transformers.TopPLogitsWarper(0.8)),
    "small top_p": (lambda impl, logits: impl.top_p_filter(logits, 0.05), lambda: transformers.TopPLogitsWarper(0.05)),
}


@BOTH
@pytest.mark.parametrize("name", WARPERS)
def test_filters_are_the_logits_processors_of_transformers(impl: Any, name: str) -> None:
    ours, theirs = WARPERS[name]
    logits = torch.randn(50, 23, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 2
    before = logits.clone()
    same(ours(impl, logits), theirs()(torch.zeros(50, 1, dtype=torch.int64), before))
    assert torch.equal(logits, before)


@BOTH
def test_top_k_keeps_ties_as_transformers_does(impl: Any) -> None:
    logits = torch.randint(-2, 3, (50, 9), generator=torch.Generator().manual_seed(3)).double()
    for k in (1, 3, 8):
        same(impl.top_k_filter(logits, k), transformers.TopKLogitsWarper(k)(None, logits.clone()))


@BOTH
def test_distribution_is_the_chain_of_processors(impl: Any) -> None:
    logits = torch.randn(50, 23, generator=torch.Generator().manual_seed(4), dtype=torch.float64) * 2
    right = logits.clone()
    for processor in (
        transformers.TemperatureLogitsWarper(1.3),
        transformers.TopKLogitsWarper(7),
        transformers.TopPLogitsWarper(0.7),
    ):
        right = processor(None, right)
    same(impl.next_token_distribution(logits, 1.3, 7, 0.7), right.softmax(dim=-1))


# --- generation ---


@BOTH
def test_greedy_text_is_that_of_transformers(impl: Any, tmp_path: Path) -> None:
    sizes = SIZES["five layers"]
    oracle = oracle_of(sizes)
    model = ours_of(impl, sizes, oracle, tmp_path / "model.safetensors")
    prompt = ids(sizes, seq_len=3)
    options: Any = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    right = oracle.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=6, **options)
    assert torch.equal(impl.generate(model, prompt, 6, temperature=0), right)


class Counting(nn.Module):
    """All the weight on the last token read plus one, modulo 10."""

    context_length = 2

    def forward(self, token_ids: Tensor) -> Tensor:
        return F.one_hot((token_ids + 1) % 10, 10).double().log()


@BOTH
def test_scripted_text_is_the_one_made_by_hand(impl: Any) -> None:
    prompts = torch.tensor([[7, 7, 3], [7, 7, 5]])
    assert impl.generate(Counting(), prompts, 5, stop=6).tolist() == [[7, 7, 3, 4, 5, 6], [7, 7, 5, 6, 6, 6]]
    assert impl.generate(Counting(), prompts, 2).tolist() == [[7, 7, 3, 4, 5], [7, 7, 5, 6, 7]]


# --- errors and annotations ---


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: gpt.Embedding(7, 4)(torch.tensor([3, 7])), r"below vocab_size=7, got 3 to 7$"),
        (
            lambda: gpt.GPT(7, 4, 6, 2, 1)(torch.zeros(1, 5).long()),
            r"^seq_len must be at most context_length=4, got seq_len=5$",
        ),
        (lambda: gpt.init_std("lm_head.weight", 0), r"^n_layers must be at least 1, got n_layers=0$"),
        (lambda: gpt.apply_temperature(torch.zeros(3), -1), r"^temperature must be at least 0, got temperature=-1$"),
        (lambda: gpt.top_k_filter(torch.zeros(3), 0), r"^k must be at least 1, got k=0$"),
        (lambda: gpt.top_p_filter(torch.zeros(3), 1.5), r"^p must be from 0 to 1, got p=1\.5$"),
        (lambda: gpt.generate(Counting(), torch.zeros(1, 0).long(), 1), r"^token_ids must hold at least one token"),
        (
            lambda: gpt.load_gpt2_weights(gpt.GPT(7, 4, 6, 2, 1), {}),
            r"^blocks\.0\.attention\.k_proj\.bias is \(6,\) in the model and None in state_dict$",
        ),
    ],
    ids=["token_ids", "seq_len", "n_layers", "temperature", "k", "p", "no token", "state_dict"],
)
def test_wrong_arguments_are_refused_by_name(call: Callable[[], Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        call()


def test_annotations_hold_for_every_task(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = jaxtyping.jaxtyped(typechecker=beartype)
    for name in ("apply_temperature", "top_k_filter", "top_p_filter", "next_token_distribution", "generate"):
        monkeypatch.setattr(gpt, name, checked(getattr(gpt, name)))
    for layer in (gpt.Embedding, gpt.GPT):
        monkeypatch.setattr(layer, "forward", checked(layer.forward))
    monkeypatch.setattr(gpt.GPT, "features", checked(gpt.GPT.features))
    model = gpt.GPT(7, 4, 6, 2, 1)
    assert model(torch.zeros(2, 3, dtype=torch.int64)).shape == (2, 3, 7)
    assert gpt.generate(model, torch.zeros(2, 3, dtype=torch.int64), 2, 0.9, 3, 0.8, 1).shape[1] <= 5
    assert gpt.next_token_distribution(torch.tensor([0.0, -math.inf])).tolist() == [1.0, 0.0]
    with pytest.raises(jaxtyping.TypeCheckError):
        gpt.top_k_filter(torch.zeros(3, dtype=torch.int64), 1)
