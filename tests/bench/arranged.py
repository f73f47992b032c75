"""The rival on a GPU: GPT-2 from torch.nn as nanoGPT arranges it: one product for q, k and v, fused attention."""

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """Pre-norm; GELU by tanh."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.qkv, self.out = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)
        self.up, self.down = nn.Linear(d_model, 4 * d_model), nn.Linear(4 * d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        batch, seq_len, d_model = x.shape
        q, k, v = (
            part.view(batch, seq_len, self.n_heads, -1).transpose(1, 2) for part in self.qkv(self.norm1(x)).chunk(3, -1)
        )
        heads = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(heads.transpose(1, 2).reshape(batch, seq_len, d_model))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Arranged(nn.Module):
    """token_ids → logits, with the head tied to the token embedding."""

    def __init__(self, vocab_size: int, context_length: int, d_model: int, n_heads: int, n_layers: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocab_size, d_model), nn.Embedding(context_length, d_model)
        self.blocks = nn.ModuleList([Block(d_model, n_heads) for _ in range(n_layers)])
        self.norm = nn.LayerNorm(d_model)

    def forward(self, token_ids: Tensor) -> Tensor:
        positions = torch.arange(token_ids.shape[1], device=token_ids.device)
        x = self.tokens(token_ids) + self.positions(positions)
        for block in self.blocks:
            x = block(x)
        return nn.functional.linear(self.norm(x), self.tokens.weight)

    def load_published(self, state: dict[str, Tensor]) -> None:
        """Take the weights of a GPT-2 checkpoint in the published layout."""
        names = {"wte": "tokens", "wpe": "positions", "h": "blocks", "ln_f": "norm", "ln_1": "norm1", "ln_2": "norm2"}
        names |= {"attn": "", "mlp": "", "c_attn": "qkv", "c_fc": "up"}
        own = {}
        for name, tensor in state.items():
            turned = tensor.T if tensor.ndim == 2 and ".c_" in name else tensor
            last = "out" if ".attn.c_proj" in name else "down"
            parts = [last if part == "c_proj" else names.get(part, part) for part in name.split(".")]
            own[".".join(filter(None, parts))] = turned
        self.load_state_dict(own)
