"""Module 3. torch has most of it already."""

import math
import re

import torch
from torch import nn

from .attention import Linear, softmax
from .block import LayerNorm, TransformerBlock

NEG_INF = float("-inf")
STD = 0.02


class Embedding(nn.Module):
    """Rows of a table."""

    def __init__(self, vocab_size, d_model):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(vocab_size, d_model))
        nn.init.normal_(self.weight, std=STD)

    def forward(self, token_ids):
        vocab_size, d_model = self.weight.shape
        flat = token_ids.flatten()
        if len(flat) > 0:
            smallest, largest = flat.min().item(), flat.max().item()
            if smallest < 0 or largest >= vocab_size:
                raise ValueError(f"token_ids go from {smallest} to {largest}, but vocab_size is {vocab_size}")
        return torch.nn.functional.embedding(token_ids, self.weight)


class GPT(nn.Module):
    def __init__(self, vocab_size, context_length, d_model, n_heads, n_layers, d_ff=None, tie_weights=True):
        super().__init__()
        if d_ff is None:
            d_ff = 4 * d_model
        self.context_length = context_length
        self.token_embedding = Embedding(vocab_size, d_model)
        self.position_embedding = Embedding(context_length, d_model)
        blocks = [TransformerBlock(d_model, n_heads, d_ff) for _ in range(n_layers)]
        self.blocks = nn.ModuleList(blocks)
        self.norm_f = LayerNorm(d_model)
        self.lm_head = Linear(d_model, vocab_size, bias=False)
        if tie_weights:
            self.token_embedding.weight = self.lm_head.weight

    def features(self, token_ids):
        n = token_ids.size(1)
        if n > self.context_length:
            raise ValueError(f"seq_len={n} is longer than context_length={self.context_length}")
        x = self.token_embedding(token_ids)
        x = x + self.position_embedding.weight[:n]
        for block in self.blocks:
            x = block(x)
        return self.norm_f(x)

    def forward(self, token_ids):
        return self.lm_head(self.features(token_ids))


def init_std(name, n_layers):
    if n_layers <= 0:
        raise ValueError(f"n_layers must be positive, not {n_layers}")
    if re.search(r"(out|down)_proj\.weight$", name):
        return STD / math.sqrt(n_layers * 2)
    return STD


def init_weights(model, generator=None):
    with torch.no_grad():
        for name, param in model.named_parameters():
            if param.dim() >= 2:
                values = torch.randn(param.shape, generator=generator, dtype=torch.float32, device=param.device)
                param.copy_(values * init_std(name, len(model.blocks)))
            elif name.split(".")[-1] == "bias":
                param.copy_(torch.zeros_like(param))
            else:
                param.copy_(torch.ones_like(param))


def count_parameters(model, non_embedding=False):
    tables = [model.token_embedding.weight, model.position_embedding.weight]
    total = 0
    for param in model.parameters():
        is_table = any(param is table for table in tables)
        if not (non_embedding and is_table):
            total += param.numel()
    return total


def apply_temperature(logits, temperature):
    if temperature < 0:
        raise ValueError(f"temperature must not be negative, got {temperature}")
    if temperature > 0:
        return logits / temperature
    best = logits.argmax(-1, keepdim=True)
    result = torch.full_like(logits, NEG_INF)
    result.scatter_(-1, best, torch.gather(logits, -1, best))
    return result


def top_k_filter(logits, k):
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if k >= logits.size(-1):
        return logits.clone()
    smallest_kept = torch.topk(logits, k, dim=-1)[0][..., -1].unsqueeze(-1)
    return logits.masked_fill(logits < smallest_kept, NEG_INF)


def top_p_filter(logits, p):
    if p < 0 or p > 1:
        raise ValueError(f"p must be in [0, 1], got {p}")
    if p == 1:
        return logits.clone()
    wide = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    order = torch.argsort(wide, dim=-1, descending=True, stable=True)
    probs = softmax(wide, -1).gather(-1, order)
    total = torch.cumsum(probs, dim=-1)
    remove = total - probs >= p
    remove[..., 0] = False
    mask = torch.zeros_like(remove).scatter(-1, order, remove)
    return logits.masked_fill(mask, NEG_INF)


def next_token_distribution(logits, temperature=1.0, top_k=None, top_p=None):
    wide = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    wide = apply_temperature(wide, temperature)
    if top_k is not None:
        wide = top_k_filter(wide, top_k)
    if top_p is not None:
        wide = top_p_filter(wide, top_p)
    return softmax(wide, -1).to(logits.dtype)


def generate(
    model, token_ids, max_new_tokens, temperature=1.0, top_k=None, top_p=None, stop=None, generator=None
):
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens must not be negative, got {max_new_tokens}")
    if token_ids.size(1) < 1:
        raise ValueError("token_ids must hold at least one token a sequence")
    modes = [(module, module.training) for module in model.modules()]
    finished = torch.full((len(token_ids),), False, device=token_ids.device)
    model.eval()
    try:
        with torch.no_grad():
            for _ in range(max_new_tokens):
                context = token_ids[:, -model.context_length :]
                logits = model(context)[:, -1, :].float()
                probs = next_token_distribution(logits, temperature=temperature, top_k=top_k, top_p=top_p)
                new = torch.multinomial(probs, 1, generator=generator).squeeze(1)
                if stop is not None:
                    new = torch.where(finished, torch.full_like(new, stop), new)
                    finished = finished | (new == stop)
                token_ids = torch.cat((token_ids, new.unsqueeze(1)), dim=1)
                if bool(finished.all()):
                    break
    finally:
        for module, mode in modes:
            module.training = mode
    return token_ids


def our_name(name):
    """GPT-2's name of a tensor in our words; c_attn is left for later."""
    name = name.replace("wte.", "token_embedding.").replace("wpe.", "position_embedding.")
    name = name.replace("ln_f.", "norm_f.").replace("ln_1.", "norm1.").replace("ln_2.", "norm2.")
    name = name.replace("attn.c_proj.", "attention.out_proj.")
    name = name.replace("mlp.c_fc.", "feed_forward.up_proj.").replace("mlp.c_proj.", "feed_forward.down_proj.")
    return re.sub(r"^h\.", "blocks.", name)


def load_gpt2_weights(model, state_dict):
    new = {}
    for key in state_dict:
        value = state_dict[key]
        name = key[12:] if key.startswith("transformer.") else key
        if name.endswith("attn.bias") or name.endswith("attn.masked_bias"):
            if "c_attn" not in name:
                continue
        if re.search(r"c_(attn|proj|fc)\.weight$", name):
            value = value.t()
        if "c_attn" in name:
            size = value.shape[0] // 3
            for i, letter in enumerate("qkv"):
                target = our_name(name).replace("attn.c_attn", f"attention.{letter}_proj")
                new[target] = value[i * size : (i + 1) * size]
        else:
            new[our_name(name)] = value
    if "lm_head.weight" not in new and "token_embedding.weight" in new:
        new["lm_head.weight"] = new["token_embedding.weight"]

    ours = dict(model.named_parameters(remove_duplicate=False))
    missing, extra = sorted(set(ours) - set(new)), sorted(set(new) - set(ours))
    if missing or extra:
        raise ValueError(f"state_dict: nothing for {missing}, no place for {extra}")
    for name, param in ours.items():
        if new[name].shape != param.shape:
            raise ValueError(f"state_dict: {name} is {tuple(new[name].shape)}, wanted {tuple(param.shape)}")
    if ours["lm_head.weight"] is ours["token_embedding.weight"]:
        if not torch.equal(new["lm_head.weight"], new["token_embedding.weight"]):
            raise ValueError("state_dict: lm_head.weight is not wte.weight, but this model is tied")
    with torch.no_grad():
        for name, param in ours.items():
            param.copy_(new[name])
