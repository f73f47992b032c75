"""Module 3, gpt, on PyTorch's own kernels: it stands in for your file in later weeks."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from .attention import Linear
from .block import LayerNorm, TransformerBlock


class Embedding(nn.Embedding):
    """A table of vectors: row i of weight for token id i."""

    def __init__(self, vocab_size: int, d_model: int) -> None:
        """Register `weight` (vocab_size, d_model)."""
        super().__init__(vocab_size, d_model)
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, token_ids: Int[Tensor, "..."]) -> Float[Tensor, "... d_model"]:
        """Look up a row for each id."""
        if ((token_ids < 0) | (token_ids >= self.num_embeddings)).any():
            raise ValueError(f"token_ids holds an id that is negative or not below vocab_size ({self.num_embeddings})")
        return super().forward(token_ids)


class GPT(nn.Module):
    """token_ids → logits, in the arrangement of GPT-2."""

    def __init__(
        self,
        vocab_size: int,
        context_length: int,
        d_model: int,
        n_heads: int,
        n_layers: int,
        d_ff: int | None = None,
        tie_weights: bool = True,
    ) -> None:
        """Register token_embedding, position_embedding, blocks, norm_f and lm_head."""
        super().__init__()
        self.context_length = context_length
        self.token_embedding = Embedding(vocab_size, d_model)
        self.position_embedding = Embedding(context_length, d_model)
        self.blocks = nn.ModuleList(TransformerBlock(d_model, n_heads, d_ff or 4 * d_model) for _ in range(n_layers))
        self.norm_f = LayerNorm(d_model)
        self.lm_head = Linear(d_model, vocab_size, bias=False)
        if tie_weights:
            self.lm_head.weight = self.token_embedding.weight

    def features(self, token_ids: Int[Tensor, "batch seq_len"]) -> Float[Tensor, "batch seq_len d_model"]:
        """The stream of vectors after the last norm."""
        seq_len = token_ids.shape[-1]
        if seq_len > self.context_length:
            raise ValueError(f"seq_len ({seq_len}) is beyond context_length ({self.context_length})")
        x = self.token_embedding(token_ids) + self.position_embedding.weight[:seq_len]
        for block in self.blocks:
            x = block(x)
        return self.norm_f(x)

    def forward(self, token_ids: Int[Tensor, "batch seq_len"]) -> Float[Tensor, "batch seq_len vocab_size"]:
        """The logits of the next token at every position."""
        return self.lm_head(self.features(token_ids))


def init_std(name: str, n_layers: int) -> float:
    """0.02, or 0.02 / sqrt(2 n_layers) for the two projections that a block adds to the stream."""
    if n_layers <= 0:
        raise ValueError(f"n_layers is {n_layers}, expected at least 1")
    _, _, layer = name.removesuffix(".weight").rpartition(".")
    return 0.02 * (2 * n_layers) ** -0.5 if layer in ("out_proj", "down_proj") else 0.02


def init_weights(model: nn.Module, generator: torch.Generator | None = None) -> None:
    """Normal weights of standard deviation init_std, biases 0, norm weights 1."""
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            nn.init.normal_(parameter, std=init_std(name, len(model.blocks)), generator=generator)
        elif name.endswith(".bias"):
            nn.init.zeros_(parameter)
        else:
            nn.init.ones_(parameter)


def count_parameters(model: nn.Module, non_embedding: bool = False) -> int:
    """The number of entries of all parameters, a shared one counted once."""
    total = sum(parameter.numel() for parameter in model.parameters())
    tables = (model.token_embedding.weight, model.position_embedding.weight)
    return total - sum(table.numel() for table in tables) if non_embedding else total


def apply_temperature(logits: Float[Tensor, "... vocab_size"], temperature: float) -> Float[Tensor, "... vocab_size"]:
    """logits / temperature; at 0 only the first of the largest is kept."""
    if temperature < 0:
        raise ValueError(f"temperature is {temperature}, expected at least 0")
    if temperature == 0:
        best = F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).bool()
        return logits.masked_fill(~best, float("-inf"))
    return logits.div(temperature)


def top_k_filter(logits: Float[Tensor, "... vocab_size"], k: int) -> Float[Tensor, "... vocab_size"]:
    """Keep the k largest logits, and what is equal to the k-th."""
    if k < 1:
        raise ValueError(f"k is {k}, expected at least 1")
    if k >= logits.shape[-1]:
        return logits.clone()
    threshold = logits.sort(dim=-1, descending=True).values[..., k - 1 : k]
    return logits.where(logits >= threshold, float("-inf"))


def top_p_filter(logits: Float[Tensor, "... vocab_size"], p: float) -> Float[Tensor, "... vocab_size"]:
    """Keep the smallest set of most probable tokens whose probabilities sum to at least p: one row after the other."""
    if p < 0 or p > 1:
        raise ValueError(f"p is {p}, expected 0 to 1")
    kept = torch.zeros(logits.shape, dtype=torch.bool, device=logits.device)
    for row, output in zip(logits.reshape(-1, logits.shape[-1]), kept.view(-1, logits.shape[-1]), strict=True):
        probabilities = torch.softmax(row, dim=-1, dtype=torch.promote_types(row.dtype, torch.float32))
        order = torch.argsort(row, descending=True, stable=True)
        reached = probabilities[order].cumsum(dim=0) >= p
        last = int(reached.int().argmax()) if p < 1 and reached.any() else len(row) - 1
        output[order[: last + 1]] = True
    return logits.where(kept, float("-inf"))


def next_token_distribution(
    logits: Float[Tensor, "... vocab_size"],
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Float[Tensor, "... vocab_size"]:
    """Temperature, then top-k, then top-p, then softmax."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    wide = apply_temperature(wide, temperature)
    wide = top_k_filter(wide, logits.shape[-1] if top_k is None else top_k)
    wide = top_p_filter(wide, 1.0 if top_p is None else top_p)
    return torch.softmax(wide, dim=-1).to(logits.dtype)


def generate(
    model: nn.Module,
    token_ids: Int[Tensor, "batch seq_len"],
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: int | None = None,
    generator: torch.Generator | None = None,
) -> Int[Tensor, "batch longer"]:
    """Draw a token from the distribution at the last position, append it, and again."""
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens is {max_new_tokens}, expected at least 0")
    if token_ids.shape[1] < 1:
        raise ValueError(f"token_ids of shape {tuple(token_ids.shape)} holds no token")
    seq_len, training = token_ids.shape[1], [module for module in model.modules() if module.training]
    result = F.pad(token_ids, (0, max_new_tokens))
    going = torch.ones_like(token_ids[:, 0], dtype=torch.bool)
    model.eval()
    try:
        for end in range(seq_len, seq_len + max_new_tokens):
            if not going.any():
                return result[:, :end]
            with torch.inference_mode():
                logits = model(result[:, max(0, end - model.context_length) : end])[:, -1]
                logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
                weights = next_token_distribution(logits, temperature, top_k, top_p)
                result[:, end] = torch.multinomial(weights, 1, generator=generator).squeeze(1)
            if stop is not None:
                result[~going, end] = stop
                going &= result[:, end] != stop
    finally:
        for module in training:
            module.training = True
    return result


def load_gpt2_weights(model: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    """Copy the weights of a published GPT-2 checkpoint into the model."""
    left = {key.removeprefix("transformer."): tensor for key, tensor in state_dict.items()}
    left = {key: tensor for key, tensor in left.items() if not key.endswith((".attn.bias", ".attn.masked_bias"))}
    new = {f"token_embedding.{kind}": left.pop(f"wte.{kind}", None) for kind in ("weight",)}
    new["position_embedding.weight"] = left.pop("wpe.weight", None)
    new["lm_head.weight"] = left.pop("lm_head.weight", new["token_embedding.weight"])
    for kind in ("weight", "bias"):
        new[f"norm_f.{kind}"] = left.pop(f"ln_f.{kind}", None)
        for i in range(len(model.blocks)):
            for ours, theirs in (("norm1", "ln_1"), ("norm2", "ln_2")):
                new[f"blocks.{i}.{ours}.{kind}"] = left.pop(f"h.{i}.{theirs}.{kind}", None)
            layers = (("attention.out_proj", "attn.c_proj"), ("feed_forward.up_proj", "mlp.c_fc"))
            for ours, theirs in (*layers, ("feed_forward.down_proj", "mlp.c_proj")):
                new[f"blocks.{i}.{ours}.{kind}"] = _turned(left.pop(f"h.{i}.{theirs}.{kind}", None))
            fused = _turned(left.pop(f"h.{i}.attn.c_attn.{kind}", None))
            for j, ours in enumerate(("q_proj", "k_proj", "v_proj")):
                part = None if fused is None else fused.tensor_split(3)[j]
                new[f"blocks.{i}.attention.{ours}.{kind}"] = part
    missing = [name for name, tensor in new.items() if tensor is None]
    if missing or left:
        raise ValueError(f"state_dict lacks what becomes {missing} and has no use for {sorted(left)}")
    tied = model.lm_head.weight is model.token_embedding.weight
    if tied and not torch.equal(new["lm_head.weight"], new["token_embedding.weight"]):
        raise ValueError("state_dict has an lm_head.weight of its own, and the model is tied")
    try:
        model.load_state_dict(new)
    except RuntimeError as error:
        raise ValueError(f"state_dict does not fit the model: {error}") from None


def _turned(tensor: Tensor | None) -> Tensor | None:
    """A weight of a Conv1D, stored as (d_in, d_out), as (d_out, d_in); a bias as it is."""
    return tensor.t() if tensor is not None else None  # t() leaves one axis alone
