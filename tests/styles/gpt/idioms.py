"""Module 3, gpt, as short as torch's idioms make it: one-hot products, Gumbel noise, searchsorted, a regex."""

import re
from contextlib import contextmanager
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from .attention import Linear
from .block import LayerNorm, TransformerBlock

INF = float("inf")


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


class Embedding(nn.Module):
    """one_hot(token_ids) @ weight, but as a selection of rows."""

    def __init__(self, vocab_size: int, d_model: int):
        super().__init__()
        self.register_parameter("weight", nn.Parameter(torch.empty(vocab_size, d_model)))
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, token_ids: Tensor) -> Tensor:
        n = len(self.weight)
        if torch.any(token_ids.clamp(0, n - 1) != token_ids):
            raise ValueError(f"token_ids out of range for vocab_size={n}: {token_ids.aminmax()}")
        rows = self.weight.index_select(0, token_ids.reshape(-1))
        return rows.view(*token_ids.shape, self.weight.size(1))


class GPT(nn.Module):
    """The head is made first and lends its weight to the table."""

    def __init__(
        self,
        vocab_size: int,
        context_length: int,
        d_model: int,
        n_heads: int,
        n_layers: int,
        d_ff: int | None = None,
        tie_weights: bool = True,
    ):
        super().__init__()
        self.lm_head = Linear(d_model, vocab_size, bias=False)
        self.norm_f = LayerNorm(d_model)
        self.blocks = nn.Sequential(*(TransformerBlock(d_model, n_heads, d_ff or 4 * d_model) for _ in range(n_layers)))
        self.position_embedding = Embedding(context_length, d_model)
        self.token_embedding = Embedding(vocab_size, d_model)
        if tie_weights:
            self.token_embedding.weight = self.lm_head.weight

    @property
    def context_length(self) -> int:
        return len(self.position_embedding.weight)

    def features(self, token_ids: Tensor) -> Tensor:
        if token_ids.size(1) > self.context_length:
            raise ValueError(f"{token_ids.size(1)} tokens do not fit into context_length={self.context_length}")
        positions = self.position_embedding.weight.narrow(0, 0, token_ids.size(1))
        return self.norm_f(self.blocks(positions.add(self.token_embedding(token_ids))))

    def forward(self, token_ids: Tensor) -> Tensor:
        return self.features(token_ids) @ self.lm_head.weight.mT


def init_std(name: str, n_layers: int) -> float:
    if not n_layers > 0:
        raise ValueError(f"n_layers={n_layers} is not positive")
    return 0.02 * (2 * n_layers) ** (-0.5 if re.search(r"\b(out|down)_proj\b", name) else 0)


def init_weights(model: nn.Module, generator: torch.Generator | None = None) -> None:
    for name, parameter in sorted(model.named_parameters()):
        match parameter.dim(), name.rsplit(".")[-1]:
            case _, "bias":
                nn.init.constant_(parameter, 0.0)
            case 1, _:
                nn.init.constant_(parameter, 1.0)
            case _:
                nn.init.normal_(parameter, 0.0, init_std(name, len(model.blocks)), generator=generator)


def count_parameters(model: nn.Module, non_embedding: bool = False) -> int:
    skipped = {model.token_embedding.weight, model.position_embedding.weight} if non_embedding else set()
    return parameters_to_vector(p for p in model.parameters() if p not in skipped).numel()


def apply_temperature(logits: Tensor, temperature: float) -> Tensor:
    if temperature < 0:
        raise ValueError(f"{temperature=} is negative")
    if temperature:
        return torch.true_divide(logits, temperature)
    is_best = torch.zeros_like(logits).scatter_(-1, logits.max(-1, keepdim=True).indices, 1).bool()
    return logits.masked_fill(is_best.logical_not(), -INF)


def top_k_filter(logits: Tensor, k: int) -> Tensor:
    if k < 1:
        raise ValueError(f"{k=} is below 1")
    n = logits.size(-1)
    rank = (logits.unsqueeze(-2) > logits.unsqueeze(-1)).sum(-1)  # how many are larger
    return logits.masked_fill(rank >= min(k, n), -INF)


def top_p_filter(logits: Tensor, p: float) -> Tensor:
    if not (0.0 <= p <= 1.0):
        raise ValueError(f"{p=} is not a probability")
    if p == 1.0:
        return logits + 0
    order = logits.argsort(dim=-1, descending=True, stable=True)
    total = _wide(logits).softmax(-1).gather(-1, order).cumsum(-1)
    needed = torch.searchsorted(total, total.new_full((*total.shape[:-1], 1), p)).clamp(max=logits.size(-1) - 1)
    place = order.argsort(-1)  # of each id in the order
    return logits.where(place <= needed, -INF)


def next_token_distribution(
    logits: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    x = apply_temperature(_wide(logits), temperature)
    x = x if top_k is None else top_k_filter(x, top_k)
    x = x if top_p is None else top_p_filter(x, top_p)
    return x.softmax(-1).type_as(logits)


@contextmanager
def _evaluating(model: nn.Module):
    modes = {name: module.training for name, module in model.named_modules()}
    try:
        with torch.inference_mode():
            yield model.eval()
    finally:
        for name, mode in modes.items():
            model.get_submodule(name).training = mode


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
    if max_new_tokens < 0:
        raise ValueError(f"{max_new_tokens=} is negative")
    if not token_ids.size(-1):
        raise ValueError(f"token_ids of shape {tuple(token_ids.shape)}: where should the text begin?")
    columns = list(token_ids.unbind(1))
    prompt = len(columns)
    alive = torch.ones_like(columns[0], dtype=torch.bool)
    with _evaluating(model):
        while len(columns) < prompt + max_new_tokens and alive.any():
            logits = model(torch.stack(columns[-model.context_length :], dim=1))[:, -1, :]
            p = next_token_distribution(_wide(logits), temperature, top_k, top_p)
            noise = torch.empty_like(p).exponential_(generator=generator)
            new = (p / noise).argmax(-1)  # the Gumbel trick
            if stop is not None:
                new = torch.where(alive, new, stop)
                alive = alive & (new != stop)
            columns.append(new.to(token_ids.dtype))
    return torch.stack(columns, dim=1)


RULES = [
    (r"wte|wpe", lambda m: {"wte": "token_embedding", "wpe": "position_embedding"}[m[0]]),
    (r"^h\.", "blocks."),
    (r"\bln_f\b", "norm_f"),
    (r"\bln_([12])\b", r"norm\1"),
    (r"\battn\.c_proj\b", "attention.out_proj"),
    (r"\bmlp\.c_proj\b", "feed_forward.down_proj"),
    (r"\bmlp\.c_fc\b", "feed_forward.up_proj"),
]


def _renamed(key: str) -> str:
    return reduce(lambda name, rule: re.sub(*rule, name), RULES, key)


def load_gpt2_weights(model: nn.Module, state_dict) -> None:
    new = {}
    for full, stored in state_dict.items():
        key = re.sub(r"^transformer\.", "", full)
        if re.search(r"\.attn\.(masked_)?bias$", key):
            continue
        tensor = stored.permute(1, 0) if re.search(r"\.c_(attn|proj|fc)\.weight$", key) else stored
        if ".c_attn." in key:
            for letter, part in zip("qkv", torch.tensor_split(tensor, 3), strict=True):
                new[_renamed(key).replace("attn.c_attn", f"attention.{letter}_proj")] = part
        else:
            new[_renamed(key)] = tensor
    new.setdefault("lm_head.weight", new.get("token_embedding.weight", torch.empty(0)))
    tied = model.lm_head.weight is model.token_embedding.weight and "token_embedding.weight" in new
    if tied and not new["lm_head.weight"].equal(new["token_embedding.weight"]):
        raise ValueError("state_dict has a head of its own, and the model is tied")
    try:
        model.load_state_dict(new, strict=True)
    except RuntimeError as error:
        raise ValueError(f"state_dict and model do not fit: {error}") from error
