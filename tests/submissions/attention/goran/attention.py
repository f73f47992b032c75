import math
import torch
from torch import nn

# ---- 1.1 -------------------------------------------------------------

def softmax(x, dim):
    out_dtype = x.dtype
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    m = torch.amax(x, dim, keepdim=True)
    e = torch.exp(x - m)
    return torch.div(e, e.sum(dim, keepdim=True)).to(out_dtype)

# ---- 1.2 -------------------------------------------------------------

class Linear(nn.Module):
    def __init__(self, d_in, d_out, bias=True):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(d_out, d_in))
        self.bias = nn.Parameter(torch.empty(d_out)) if bias else None
        nn.init.uniform_(self.weight, -1 / math.sqrt(d_in), 1 / math.sqrt(d_in))
        if bias:
            nn.init.zeros_(self.bias)

    def forward(self, x):
        y = x @ self.weight.transpose(0, 1)
        return y if self.bias is None else y + self.bias

# ---- 1.3 -------------------------------------------------------------

def causal_mask(q_len, k_len=None, device=None):
    if k_len is None:
        k_len = q_len
    if k_len < q_len:
        raise ValueError(f'k_len = {k_len} is less than q_len = {q_len}')
    # tril keeps the lower triangle, +1 so that a token can see itself
    ones = torch.ones((q_len, k_len), dtype=torch.bool, device=device)
    return torch.tril(ones, diagonal=k_len - q_len + 1)

# ---- 1.4 -------------------------------------------------------------

def attention_weights(q, k, mask=None):
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f'head_dim: q has {q.shape[-1]} and k has {k.shape[-1]}')
    if mask is not None and mask.dtype != torch.bool:
        raise ValueError(f'mask is {mask.dtype}, not bool')
    wide = torch.promote_types(q.dtype, torch.float32)
    scale = 1 / math.sqrt(q.shape[-1])
    s = torch.matmul(q.to(wide), k.to(wide).transpose(-2, -1)) * scale
    if mask is None:
        return softmax(s, -1).to(q.dtype)
    s = torch.where(mask, s, torch.full_like(s, torch.finfo(wide).min))
    w = softmax(s, -1)
    return torch.where(mask, w, torch.zeros_like(w)).to(q.dtype)

# ---- 1.5 -------------------------------------------------------------

def scaled_dot_product_attention(q, k, v, mask=None):
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(f'k_len: k has {k.shape[-2]} and v has {v.shape[-2]}')
    return torch.matmul(attention_weights(q, k, mask), v)

# ---- 1.6, 1.7 --------------------------------------------------------

def split_heads(x, n_heads):
    b, t, d = x.shape
    if d % n_heads != 0:
        raise ValueError(f'd_model = {d} cannot be split in n_heads = {n_heads}')
    return x.unflatten(-1, (n_heads, d // n_heads)).permute(0, 2, 1, 3)

def merge_heads(x):
    return x.permute(0, 2, 1, 3).flatten(-2)

# ---- 1.8 -------------------------------------------------------------

class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads, bias=False):
        super().__init__()
        if d_model % n_heads != 0:
            raise ValueError(f'd_model = {d_model} cannot be split in n_heads = {n_heads}')
        self.n_heads = n_heads
        self.q_proj = Linear(d_model, d_model, bias)
        self.k_proj = Linear(d_model, d_model, bias)
        self.v_proj = Linear(d_model, d_model, bias)
        self.out_proj = Linear(d_model, d_model, bias)

    def forward(self, x, mask=None, causal=True):
        q = split_heads(self.q_proj(x), self.n_heads)
        k = split_heads(self.k_proj(x), self.n_heads)
        v = split_heads(self.v_proj(x), self.n_heads)
        if causal:
            tri = causal_mask(x.shape[1], device=x.device)
            mask = tri if mask is None else tri & mask
        return self.out_proj(merge_heads(scaled_dot_product_attention(q, k, v, mask)))
