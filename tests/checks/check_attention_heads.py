"""The graded checks of module 1 on heads and on multi-head attention."""

import torch
from check_attention import open_mask

from grader import graded, gradients, registered

# split_heads and merge_heads


@graded(
    "split_heads",
    weight=7,
    rows=[
        {"batch": 2, "seq_len": 5, "n_heads": 3, "head_dim": 4},
        {"batch": 4, "seq_len": 3, "n_heads": 2, "head_dim": 5},
    ],
)
def check_split_heads_values(impl, rng, batch, seq_len, n_heads, head_dim):
    """Head h holds the h-th consecutive slice of d_model, at every position."""
    return impl.split_heads(rng.randn(batch, seq_len, n_heads * head_dim), n_heads)


@graded("split_heads", weight=2, rows=[{"seq_len": 5, "n_heads": 3, "head_dim": 2}], pins="non-contiguous input")
def check_split_heads_not_contiguous(impl, rng, seq_len, n_heads, head_dim):
    """An input that is not contiguous in memory is split the same way, and the gradient comes back in place."""
    x = rng.randn(4, seq_len, n_heads * head_dim, contiguous=False, requires_grad=True)
    output = impl.split_heads(x, n_heads)
    return gradients(output, rng.randn(4, n_heads, seq_len, head_dim), x=x)


@graded("split_heads", weight=1, rows=[{"d_model": 10, "n_heads": 3}])
def check_split_heads_refuses_a_remainder(impl, rng, d_model, n_heads):
    """A d_model that n_heads does not divide is a ValueError that names them."""
    return impl.split_heads(rng.randn(2, 5, d_model), n_heads)


@graded(
    "merge_heads",
    weight=6,
    rows=[
        {"batch": 2, "n_heads": 3, "seq_len": 5, "head_dim": 4},
        {"batch": 3, "n_heads": 2, "seq_len": 4, "head_dim": 5},
    ],
)
def check_merge_heads_values(impl, rng, batch, n_heads, seq_len, head_dim):
    """The heads of a position stand side by side in d_model, head 0 first."""
    return impl.merge_heads(rng.randn(batch, n_heads, seq_len, head_dim))


@graded("merge_heads", weight=2, rows=[{"n_heads": 3, "seq_len": 5, "head_dim": 2}], pins="non-contiguous input")
def check_merge_heads_not_contiguous(impl, rng, n_heads, seq_len, head_dim):
    """An input that is not contiguous in memory is merged the same way, and the gradient comes back in place."""
    x = rng.randn(4, n_heads, seq_len, head_dim, contiguous=False, requires_grad=True)
    output = impl.merge_heads(x)
    return gradients(output, rng.randn(4, seq_len, n_heads * head_dim), x=x)


# MultiHeadAttention


@graded(
    "MultiHeadAttention",
    weight=3,
    rows=[{"d_model": 6, "n_heads": 2, "bias": False}, {"d_model": 6, "n_heads": 3, "bias": True}],
)
def check_mha_parameters(impl, rng, d_model, n_heads, bias):
    """The parameters are those of q_proj, k_proj, v_proj and out_proj, under these names."""
    return registered(impl.MultiHeadAttention(d_model, n_heads, bias=bias))


@graded(
    "MultiHeadAttention",
    weight=6,
    rows=[
        {"seq_len": 5, "n_heads": 3, "head_dim": 4, "bias": False},
        {"seq_len": 4, "n_heads": 2, "head_dim": 3, "bias": True},
    ],
    pins="values",
)
def check_mha_values(impl, rng, seq_len, n_heads, head_dim, bias):
    """By default a token attends to itself and to earlier tokens, in every head."""
    attention = rng.fill(impl.MultiHeadAttention(n_heads * head_dim, n_heads, bias=bias))
    return attention(rng.randn(2, seq_len, n_heads * head_dim))


@graded("MultiHeadAttention", weight=2, rows=[{"seq_len": 5, "n_heads": 2, "head_dim": 3}])
def check_mha_not_causal(impl, rng, seq_len, n_heads, head_dim):
    """With causal=False a token attends to every token, later ones too, that the mask allows."""
    attention = rng.fill(impl.MultiHeadAttention(n_heads * head_dim, n_heads))
    x = rng.randn(4, seq_len, n_heads * head_dim)
    mask = open_mask(rng, 4, n_heads, seq_len, seq_len, share=0.6)
    masked = attention(x, mask=mask, causal=False)
    return {"output": attention(x, causal=False), "output with a mask": masked, "mask after the call": mask}


@graded("MultiHeadAttention", weight=4, rows=[{"seq_len": 5, "n_heads": 3, "head_dim": 2}])
def check_mha_padding(impl, rng, seq_len, n_heads, head_dim):
    """A padding mask keeps the padded tokens of each sequence out, on top of the causal mask."""
    attention = rng.fill(impl.MultiHeadAttention(n_heads * head_dim, n_heads))
    lengths = torch.tensor([seq_len, seq_len - 2, seq_len - 1, 1])
    real = torch.arange(seq_len) >= seq_len - lengths[:, None]  # (batch, seq_len), padded on the left
    mask = real[:, None, None, :].to(rng.device)
    return attention(rng.randn(4, seq_len, n_heads * head_dim), mask=mask, causal=True)


@graded("MultiHeadAttention", weight=3, rows=[{"seq_len": 4, "n_heads": 2, "head_dim": 3}], pins="gradients")
def check_mha_gradients(impl, rng, seq_len, n_heads, head_dim):
    """Gradients reach x and every parameter."""
    attention = rng.fill(impl.MultiHeadAttention(n_heads * head_dim, n_heads))
    x = rng.randn(3, seq_len, n_heads * head_dim, requires_grad=True)
    output = attention(x)
    upstream = rng.randn(3, seq_len, n_heads * head_dim)
    return gradients(output, upstream, x=x, **dict(attention.named_parameters()))


@graded("MultiHeadAttention", weight=1, rows=[{"first": 3, "then": 5}])
def check_mha_any_length(impl, rng, first, then):
    """One layer serves sequences of any length, short or long, one after the other."""
    attention = rng.fill(impl.MultiHeadAttention(8, 2))
    return [attention(rng.randn(3, seq_len, 8)) for seq_len in (first, then, 1)]


@graded(
    "MultiHeadAttention",
    weight=1,
    rows=[{"dtype": "bfloat16", "seq_len": 5}, {"dtype": "float64", "seq_len": 4}],
    pins="dtypes",
)
def check_mha_dtype(impl, rng, dtype, seq_len):
    """A layer moved to another dtype gives results of that dtype."""
    return rng.fill(impl.MultiHeadAttention(6, 2), dtype=dtype)(rng.randn(3, seq_len, 6, dtype=dtype))


@graded("MultiHeadAttention", weight=1, rows=[{"d_model": 10, "n_heads": 3}])
def check_mha_refuses_a_remainder(impl, rng, d_model, n_heads):
    """A d_model that n_heads does not divide is a ValueError when the layer is made, and names them."""
    return registered(impl.MultiHeadAttention(d_model, n_heads))


@graded("MultiHeadAttention", weight=1, rows=[{"seq_len": 4}], pins="device", second_device=True)
def check_mha_on_another_device(impl, rng, seq_len):
    """A layer on a GPU works there: its causal mask is made on the device of x, not on the CPU."""
    return rng.fill(impl.MultiHeadAttention(6, 2))(rng.randn(3, seq_len, 6))
