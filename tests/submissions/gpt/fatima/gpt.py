"""GPT (module 3)."""

from __future__ import annotations

import itertools
from math import inf

import torch
from torch import Tensor, nn

from .attention import Linear, softmax
from .block import LayerNorm, TransformerBlock


def check(ok: bool, message: str) -> None:
    if not ok:
        raise ValueError(message)


class Embedding(nn.Module):
    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.weight = nn.Parameter(torch.randn(vocab_size, d_model) / 50)

    def forward(self, token_ids: Tensor) -> Tensor:
        inside = (token_ids >= 0) & (token_ids < self.vocab_size)
        check(bool(inside.all()), f"token_ids must lie in [0, {self.vocab_size}), the vocab_size")
        return self.weight[token_ids]


class GPT(nn.Module):
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
        super().__init__()
        self.context_length = context_length
        self.token_embedding = Embedding(vocab_size, d_model)
        self.position_embedding = Embedding(context_length, d_model)
        self.blocks = nn.ModuleList()
        for _ in range(n_layers):
            self.blocks.append(TransformerBlock(d_model, n_heads, d_ff if d_ff is not None else 4 * d_model))
        self.norm_f = LayerNorm(d_model)
        self.lm_head = Linear(d_model, vocab_size, bias=False)
        if tie_weights:
            self.lm_head.weight = self.token_embedding.weight

    def features(self, token_ids: Tensor) -> Tensor:
        seq_len = token_ids.shape[-1]
        check(
            seq_len <= self.context_length,
            f"{seq_len} tokens are more than context_length = {self.context_length}",
        )
        where = torch.arange(seq_len, device=token_ids.device).expand_as(token_ids)
        stream = self.token_embedding(token_ids) + self.position_embedding(where)
        for block in self.blocks:
            stream = block(stream)
        return self.norm_f(stream)

    def forward(self, token_ids: Tensor) -> Tensor:
        return self.lm_head(self.features(token_ids))


def init_std(name: str, n_layers: int) -> float:
    check(n_layers >= 1, f"a model has at least one layer, got n_layers = {n_layers}")
    residual = "attention.out_proj" in name or "feed_forward.down_proj" in name
    return 0.02 / (2 * n_layers) ** 0.5 if residual else 0.02


@torch.no_grad()
def init_weights(model: nn.Module, generator: torch.Generator | None = None) -> None:
    for name, p in model.named_parameters():
        if name.endswith("bias"):
            p.zero_()
        elif "norm" in name:
            p.fill_(1.0)
        else:
            p.normal_(mean=0.0, std=init_std(name, len(model.blocks)), generator=generator)


def count_parameters(model: nn.Module, non_embedding: bool = False) -> int:
    sizes = {p: p.numel() for p in model.parameters()}
    if non_embedding:
        sizes.pop(model.token_embedding.weight)
        sizes.pop(model.position_embedding.weight)
    return sum(sizes.values())


def apply_temperature(logits: Tensor, temperature: float) -> Tensor:
    check(temperature >= 0, f"temperature = {temperature} is negative")
    if temperature == 0:
        ids = torch.arange(logits.shape[-1], device=logits.device)
        return torch.where(ids == logits.argmax(dim=-1, keepdim=True), logits, -inf)
    return logits / temperature


def top_k_filter(logits: Tensor, k: int) -> Tensor:
    check(k >= 1, f"k = {k} keeps nothing")
    k = min(k, logits.shape[-1])
    kth = logits.sort(dim=-1).values[..., -k, None]
    return torch.where(logits >= kth, logits, -inf)


def top_p_filter(logits: Tensor, p: float) -> Tensor:
    check(0 <= p <= 1, f"p = {p} is not between 0 and 1")
    if p == 1:
        return logits.clone()
    values, ids = logits.sort(dim=-1, descending=True, stable=True)
    probs = softmax(values.to(torch.promote_types(values.dtype, torch.float32)), dim=-1)
    before = torch.cat([torch.zeros_like(probs[..., :1]), probs.cumsum(dim=-1)[..., :-1]], dim=-1)
    keep = before < p
    keep[..., 0] = True
    back = ids.argsort(dim=-1)
    return torch.where(keep.gather(-1, back), logits, -inf)


def next_token_distribution(
    logits: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    out = logits.to(torch.promote_types(logits.dtype, torch.float32))
    out = apply_temperature(out, temperature)
    out = out if top_k is None else top_k_filter(out, top_k)
    out = out if top_p is None else top_p_filter(out, top_p)
    return softmax(out, dim=-1).to(logits.dtype)


def generate(
    model: nn.Module,
    token_ids: Tensor,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    check(max_new_tokens >= 0, f"max_new_tokens = {max_new_tokens} is negative")
    check(token_ids.shape[1] > 0, "token_ids has no token to begin with")
    training = [m for m in model.modules() if m.training]
    done = torch.zeros(token_ids.shape[0], dtype=torch.bool, device=token_ids.device)
    try:
        model.eval()
        for _ in itertools.repeat(None, max_new_tokens):
            with torch.no_grad():
                logits = model(token_ids[:, -model.context_length :])
            logits = logits[:, -1].to(torch.promote_types(logits.dtype, torch.float32))
            probs = next_token_distribution(logits, temperature, top_k, top_p)
            nxt = torch.multinomial(probs, num_samples=1, generator=generator)[:, 0]
            if stop is not None:
                nxt[done] = stop
                done |= nxt == stop
            token_ids = torch.hstack([token_ids, nxt[:, None]])
            if done.all():
                break
    finally:
        for m in training
            m.training = True
    return token_ids


PARTS = {
    "ln_1": "norm1",
    "ln_2": "norm2",
    "attn.c_proj": "attention.out_proj",
    "mlp.c_fc": "feed_forward.up_proj",
    "mlp.c_proj": "feed_forward.down_proj",
}


def load_gpt2_weights(model: nn.Module, state_dict) -> None:
    given = {k.removeprefix("transformer."): v for k, v in state_dict.items()}
    given = {k: v for k, v in given.items() if not k.endswith((".attn.bias", ".attn.masked_bias"))}

    def take(name: str) -> Tensor:
        check(name in given, f"state_dict has no {name}, which the model needs")
        return given.pop(name)

    new = {"token_embedding.weight": take("wte.weight"), "position_embedding.weight": take("wpe.weight")}
    new["lm_head.weight"] = given.pop("lm_head.weight", new["token_embedding.weight"])
    for kind in ("weight", "bias"):
        new[f"norm_f.{kind}"] = take(f"ln_f.{kind}")
        for i in range(len(model.blocks)):
            for theirs, ours in PARTS.items():
                t = take(f"h.{i}.{theirs}.{kind}")
                new[f"blocks.{i}.{ours}.{kind}"] = t.T if t.ndim == 2 else t
            fused = take(f"h.{i}.attn.c_attn.{kind}")
            for letter, third in zip("qkv", fused.chunk(3, dim=-1)):
                new[f"blocks.{i}.attention.{letter}_proj.{kind}"] = third.T if third.ndim == 2 else third
    check(not given, f"state_dict holds {sorted(given)}, for which the model has no place")
    tied = model.lm_head.weight is model.token_embedding.weight
    if tied:
        same = torch.equal(new["lm_head.weight"], new["token_embedding.weight"])
        check(same, "state_dict has a head of its own, but the model is tied")
    for name, p in model.named_parameters(remove_duplicate=False):
        check(p.shape == new[name].shape, f"state_dict: {name} is {new[name].shape}, the model has {p.shape}")
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(new[name])
