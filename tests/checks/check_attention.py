"""The graded checks of module 1. No two sizes in a row are equal, so a swapped axis cannot pass by luck.

A check returns what the implementation gave back; the judge compares it with the reference. Hidden rows of the same
checks, with other sizes, stand in hidden_attention.toml.
"""

import torch

from grader import graded, gradients, registered

# softmax


@graded(
    "softmax",
    weight=3,
    rows=[{"shape": [2, 3, 5], "dim": -1}, {"shape": [4, 3, 5], "dim": 1}, {"shape": [3, 5], "dim": 0}],
)
def check_softmax_values(impl, rng, shape, dim):
    """softmax is exp(x) / sum(exp(x)) along dim, for any axis and any number of axes."""
    return impl.softmax(rng.randn(*shape, scale=2.0), dim)


@graded("softmax", weight=3, rows=[{"rows": 3, "columns": 5, "size": 10_000}])
def check_softmax_large_scores(impl, rng, rows, columns, size):
    """Scores of ±10,000 overflow nothing, also when they stand in the same tensor."""
    high = rng.integers(size - 3, size + 4, rows, columns, dtype="float32")
    low = rng.integers(-size - 3, -size + 4, rows, columns, dtype="float32")
    return impl.softmax(torch.stack([high, low]), -1)


@graded("softmax", weight=1, rows=[{"rows": 4, "columns": 6}])
def check_softmax_minus_infinity(impl, rng, rows, columns):
    """An entry of -inf gets probability zero, and the gradient of the others stays finite."""
    scores = rng.randn(rows, columns)
    hidden = torch.ones(rows, columns, dtype=torch.bool, device=rng.device).triu(2)
    x = scores.masked_fill(hidden, float("-inf")).requires_grad_()
    output = impl.softmax(x, -1)
    return gradients(output, rng.randn(rows, columns), x=x)


@graded("softmax", weight=2, rows=[{"shape": [3, 5], "dim": 0}, {"shape": [2, 4, 3], "dim": -1}], pins="gradients")
def check_softmax_gradient(impl, rng, shape, dim):
    """The gradient reaches x and is that of softmax."""
    x = rng.randn(*shape, requires_grad=True)
    return gradients(impl.softmax(x, dim), rng.randn(*shape), x=x)


@graded(
    "softmax",
    weight=1,
    rows=[{"dtype": "bfloat16", "columns": 7}, {"dtype": "float16", "columns": 9}],
    pins="dtypes",
)
def check_softmax_half_precision(impl, rng, dtype, columns):
    """A float16 or bfloat16 input comes back in its own dtype, and as exact as that allows."""
    return impl.softmax(rng.randn(3, columns, dtype=dtype, scale=2.0), -1)


@graded("softmax", weight=1, rows=[{"shape": [4, 7]}], pins="dtypes")
def check_softmax_float64(impl, rng, shape):
    """A float64 input is computed and returned in float64."""
    return impl.softmax(rng.randn(*shape, dtype="float64"), -1)


@graded("softmax", weight=1, rows=[{"shape": [3, 4]}], pins="in-place safety")
def check_softmax_leaves_input_alone(impl, rng, shape):
    """softmax does not change its input."""
    x = rng.randn(*shape)
    return {"output": impl.softmax(x, -1), "x after the call": x}


# Linear


@graded("Linear", weight=2, rows=[{"d_in": 5, "d_out": 3, "bias": True}, {"d_in": 3, "d_out": 4, "bias": False}])
def check_linear_parameters(impl, rng, d_in, d_out, bias):
    """Linear registers weight (d_out, d_in) and, when asked, bias (d_out,)."""
    return registered(impl.Linear(d_in, d_out, bias=bias))


@graded("Linear", weight=2, rows=[{"shape": [2, 3], "d_in": 5, "d_out": 4}, {"shape": [], "d_in": 4, "d_out": 6}])
def check_linear_values(impl, rng, shape, d_in, d_out):
    """Linear gives x weightᵀ + bias on the last axis, with any leading axes."""
    return rng.fill(impl.Linear(d_in, d_out))(rng.randn(*shape, d_in))


@graded("Linear", weight=1, rows=[{"shape": [4], "d_in": 5, "d_out": 3}])
def check_linear_without_bias(impl, rng, shape, d_in, d_out):
    """With bias=False the result is x weightᵀ alone."""
    return rng.fill(impl.Linear(d_in, d_out, bias=False))(rng.randn(*shape, d_in))


@graded("Linear", weight=2, rows=[{"shape": [2, 4], "d_in": 3, "d_out": 5}], pins="gradients")
def check_linear_gradients(impl, rng, shape, d_in, d_out):
    """Gradients reach x, weight and bias."""
    layer = rng.fill(impl.Linear(d_in, d_out))
    x = rng.randn(*shape, d_in, requires_grad=True)
    return gradients(layer(x), rng.randn(*shape, d_out), x=x, **dict(layer.named_parameters()))


@graded("Linear", weight=1, rows=[{"dtype": "bfloat16", "d_in": 6}, {"dtype": "float64", "d_in": 5}], pins="dtypes")
def check_linear_dtype(impl, rng, dtype, d_in):
    """A layer moved to another dtype gives results of that dtype."""
    return rng.fill(impl.Linear(d_in, 3), dtype=dtype)(rng.randn(4, d_in, dtype=dtype))


# causal_mask


@graded("causal_mask", weight=4, rows=[{"q_len": 5}, {"q_len": 1}])
def check_causal_mask_square(impl, rng, q_len):
    """A token may attend to itself and to what is before it."""
    return impl.causal_mask(q_len)


@graded("causal_mask", weight=4, rows=[{"q_len": 2, "k_len": 5}, {"q_len": 3, "k_len": 4}])
def check_causal_mask_longer_keys(impl, rng, q_len, k_len):
    """With more keys than queries the last query sees every key."""
    return impl.causal_mask(q_len, k_len)


@graded("causal_mask", weight=1, rows=[{"q_len": 3, "k_len": 4}], pins="device", second_device=True)
def check_causal_mask_device(impl, rng, q_len, k_len):
    """The mask is made on the device that is asked for."""
    return impl.causal_mask(q_len, k_len, device=rng.device).logical_and(torch.tensor(False))  # its place alone


@graded("causal_mask", weight=1, rows=[{"q_len": 4, "k_len": 3}, {"q_len": 2, "k_len": 0}])
def check_causal_mask_refuses_fewer_keys(impl, rng, q_len, k_len):
    """Fewer keys than queries is a ValueError that names k_len."""
    return impl.causal_mask(q_len, k_len)


# attention_weights


def open_mask(rng, *shape, share):
    """A random mask that leaves every query a key."""
    q_len, k_len = shape[-2:]
    key, query = (torch.arange(n, device=rng.device) for n in (k_len, q_len))
    return rng.bools(*shape, share=share) | (key == query[:, None] % k_len)


@graded("attention_weights", weight=4, rows=[{"q_len": 5, "k_len": 7, "head_dim": 12}])
def check_weights_values(impl, rng, q_len, k_len, head_dim):
    """The weights are softmax(q kᵀ / sqrt(head_dim)) over the keys."""
    return impl.attention_weights(rng.randn(2, 3, q_len, head_dim), rng.randn(2, 3, k_len, head_dim))


@graded("attention_weights", weight=3, rows=[{"q_len": 4, "k_len": 6, "head_dim": 5}], pins="values")
def check_weights_masked(impl, rng, q_len, k_len, head_dim):
    """Where mask is False the weight is exactly zero and the others of the row sum to one."""
    q, k = rng.randn(2, 3, q_len, head_dim), rng.randn(2, 3, k_len, head_dim)
    return impl.attention_weights(q, k, open_mask(rng, 2, 3, q_len, k_len, share=0.6))


@graded("attention_weights", weight=2, rows=[{"leading": [2, 1], "q_len": 1, "k_len": 6}])
def check_weights_mask_broadcast(impl, rng, leading, q_len, k_len):
    """A padding mask of shape (batch, 1, 1, k_len) counts for every head and query."""
    q, k = rng.randn(2, 3, 4, 5), rng.randn(2, 3, k_len, 5)
    return impl.attention_weights(q, k, open_mask(rng, *leading, q_len, k_len, share=0.7))


@graded("attention_weights", weight=2, rows=[{"q_len": 3, "k_len": 5, "head_dim": 4}], pins="fully masked rows")
def check_weights_nothing_to_attend_to(impl, rng, q_len, k_len, head_dim):
    """A row with every key excluded gives zeros, never NaN, and no NaN in the gradients."""
    q, k = rng.randn(2, q_len, head_dim, requires_grad=True), rng.randn(2, k_len, head_dim, requires_grad=True)
    mask = rng.bools(2, q_len, k_len, share=0.8)
    mask[:, 1] = False
    output = impl.attention_weights(q, k, mask)
    return gradients(output, rng.randn(2, q_len, k_len), q=q, k=k)


@graded("attention_weights", weight=1, rows=[{"q_len": 3, "k_len": 5, "head_dim": 7}], pins="leading axes")
def check_weights_without_leading_axes(impl, rng, q_len, k_len, head_dim):
    """q and k may have no leading axes at all."""
    return impl.attention_weights(rng.randn(q_len, head_dim), rng.randn(k_len, head_dim))


@graded("attention_weights", weight=2, rows=[{"q_len": 4, "k_len": 3, "head_dim": 6}], pins="gradients")
def check_weights_gradients(impl, rng, q_len, k_len, head_dim):
    """Gradients reach q and k through the softmax."""
    q, k = rng.randn(2, q_len, head_dim, requires_grad=True), rng.randn(2, k_len, head_dim, requires_grad=True)
    return gradients(impl.attention_weights(q, k), rng.randn(2, q_len, k_len), q=q, k=k)


@graded(
    "attention_weights",
    weight=1,
    rows=[
        {"q_len": 3, "k_len": 5, "size": 200, "dtype": "float32"},
        {"q_len": 2, "k_len": 6, "size": 300, "dtype": "float16"},
    ],
    pins="±1e4 scores, float16",
)
def check_weights_large_scores(impl, rng, q_len, k_len, size, dtype):
    """Scores of 10,000 overflow nothing, nor do products beyond 65,504 in float16."""
    q = [rng.integers(size, size + 1, q_len, 1, dtype=dtype), rng.integers(-2, 3, q_len, 15, dtype=dtype)]
    k = [rng.integers(size, size + 1, k_len, 1, dtype=dtype), rng.integers(-2, 3, k_len, 15, dtype=dtype)]
    return impl.attention_weights(torch.cat(q, dim=1), torch.cat(k, dim=1))


@graded("attention_weights", weight=1, rows=[{"q_len": 2, "k_len": 3}], pins="device", second_device=True)
def check_weights_on_another_device(impl, rng, q_len, k_len):
    """With q, k and mask on a GPU everything stays there, with a mask and without."""
    q, k = rng.randn(2, q_len, 4), rng.randn(2, k_len, 4)
    mask = open_mask(rng, 2, q_len, k_len, share=0.5)
    return {"without a mask": impl.attention_weights(q, k), "with one": impl.attention_weights(q, k, mask)}


@graded("attention_weights", weight=1, rows=[{"q_len": 4, "k_len": 5, "head_dim": 3}])
def check_weights_zero_scores(impl, rng, q_len, k_len, head_dim):
    """A score of zero is a score like any other: a query of zeros attends to all keys equally."""
    q, k = rng.randn(2, q_len, head_dim), rng.randn(2, k_len, head_dim)
    q[:, 1] = 0
    return impl.attention_weights(q, k, torch.ones(2, q_len, k_len, dtype=torch.bool, device=rng.device).tril(1))


@graded("attention_weights", weight=1, rows=[{"q_len": 3, "k_len": 6, "size": 200}], pins="±1e4 scores")
def check_weights_masked_large_scores(impl, rng, q_len, k_len, size):
    """An excluded key has weight zero however large its score is, and however low those of the others are."""
    mask = torch.ones(q_len, k_len, dtype=torch.bool, device=rng.device).tril(2)
    sign = 1 - 2 * mask[0].float()[:, None]  # the keys open to the first query score low
    q = [rng.integers(size, size + 1, q_len, 1, dtype="float32"), rng.integers(-2, 3, q_len, 15, dtype="float32")]
    k = [
        rng.integers(size, size + 1, k_len, 1, dtype="float32") * sign,
        rng.integers(-2, 3, k_len, 15, dtype="float32"),
    ]
    return impl.attention_weights(torch.cat(q, dim=1), torch.cat(k, dim=1), mask)


@graded(
    "attention_weights",
    weight=1,
    rows=[{"dtype": "float16", "k_len": 5}, {"dtype": "bfloat16", "k_len": 6}, {"dtype": "float64", "k_len": 7}],
    pins="dtypes",
)
def check_weights_dtype(impl, rng, dtype, k_len):
    """Masked attention works in float16, bfloat16 and float64 and keeps the dtype."""
    q, k = rng.randn(2, 3, 4, dtype=dtype), rng.randn(2, k_len, 4, dtype=dtype)
    return impl.attention_weights(q, k, open_mask(rng, 2, 3, k_len, share=0.7))


@graded(
    "attention_weights",
    weight=1,
    rows=[{"q_len": 3, "k_len": 4, "head_dim": 5}],
    pins="non-contiguous input, in-place safety",
)
def check_weights_not_contiguous(impl, rng, q_len, k_len, head_dim):
    """Inputs that are not contiguous in memory give the same weights and stay as they are."""
    q, k = rng.randn(2, q_len, head_dim, contiguous=False), rng.randn(2, k_len, head_dim, contiguous=False)
    mask = open_mask(rng, 2, q_len, k_len, share=0.7)
    output = impl.attention_weights(q, k, mask)
    return {"output": output, "q after the call": q, "k after the call": k, "mask after the call": mask}


@graded("attention_weights", weight=1, rows=[{"q_dim": 4, "k_dim": 3}])
def check_weights_refuse_unequal_head_dim(impl, rng, q_dim, k_dim):
    """q and k of different head_dim are a ValueError that names them."""
    return impl.attention_weights(rng.randn(2, q_dim), rng.randn(5, k_dim))


@graded("attention_weights", weight=1, rows=[{"q_len": 2, "k_len": 5}])
def check_weights_refuse_float_mask(impl, rng, q_len, k_len):
    """A mask that is not bool is a ValueError that names mask."""
    return impl.attention_weights(
        rng.randn(q_len, 3), rng.randn(k_len, 3), rng.integers(0, 2, q_len, k_len, dtype="float32")
    )


# scaled_dot_product_attention


@graded(
    "scaled_dot_product_attention",
    weight=2,
    rows=[{"q_len": 5, "k_len": 7, "head_dim": 12, "v_dim": 4}],
    pins="v_dim ≠ head_dim",
)
def check_attention_values(impl, rng, q_len, k_len, head_dim, v_dim):
    """Each query gets the average of the values by its weights; v_dim need not be head_dim."""
    q, k, v = rng.randn(2, 3, q_len, head_dim), rng.randn(2, 3, k_len, head_dim), rng.randn(2, 3, k_len, v_dim)
    return impl.scaled_dot_product_attention(q, k, v)


@graded("scaled_dot_product_attention", weight=2, rows=[{"q_len": 3, "k_len": 5, "v_dim": 4}])
def check_attention_masked(impl, rng, q_len, k_len, v_dim):
    """The mask keeps values out, and a query with nothing to attend to gets zeros."""
    q, k, v = rng.randn(2, q_len, 6), rng.randn(2, k_len, 6), rng.randn(2, k_len, v_dim)
    mask = rng.bools(q_len, k_len, share=0.6)
    mask[1] = False
    return impl.scaled_dot_product_attention(q, k, v, mask)


@graded("scaled_dot_product_attention", weight=1, rows=[{"q_len": 4, "k_len": 3, "v_dim": 5}], pins="gradients")
def check_attention_gradients(impl, rng, q_len, k_len, v_dim):
    """Gradients reach q, k and v."""
    q, k = rng.randn(2, q_len, 6, requires_grad=True), rng.randn(2, k_len, 6, requires_grad=True)
    v = rng.randn(2, k_len, v_dim, requires_grad=True)
    output = impl.scaled_dot_product_attention(q, k, v)
    return gradients(output, rng.randn(2, q_len, v_dim), q=q, k=k, v=v)


@graded(
    "scaled_dot_product_attention",
    weight=1,
    rows=[{"dtype": "bfloat16", "k_len": 5}, {"dtype": "float64", "k_len": 4}],
    pins="dtypes",
)
def check_attention_dtype(impl, rng, dtype, k_len):
    """The result has the dtype of q."""
    q, k, v = rng.randn(3, 6, dtype=dtype), rng.randn(k_len, 6, dtype=dtype), rng.randn(k_len, 2, dtype=dtype)
    return impl.scaled_dot_product_attention(q, k, v)


@graded("scaled_dot_product_attention", weight=1, rows=[{"q_len": 3, "v_dim": 5}], pins="one key")
def check_attention_one_key(impl, rng, q_len, v_dim):
    """With a single key every query gets its value."""
    return impl.scaled_dot_product_attention(rng.randn(2, q_len, 4), rng.randn(2, 1, 4), rng.randn(2, 1, v_dim))


@graded("scaled_dot_product_attention", weight=1, rows=[{"k_len": 5, "v_len": 4}])
def check_attention_refuses_unequal_k_len(impl, rng, k_len, v_len):
    """k and v of different k_len are a ValueError that names them."""
    return impl.scaled_dot_product_attention(rng.randn(2, 3), rng.randn(k_len, 3), rng.randn(v_len, 3))
