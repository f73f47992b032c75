"""The graded checks of module 2. No two sizes in a row are equal, so a swapped axis cannot pass by luck.

A check returns what the implementation gave back; the judge compares it with the reference. Hidden rows of the same
checks, with other sizes, stand in hidden_block.toml. Module 1 is the given one.
"""

import torch

from grader import graded, gradients, registered


def initial(module):
    """What the module registers, and the values that its parameters begin with."""
    return registered(module) | {"initial values": dict(sorted(module.named_parameters()))}


def draw_from(module, *masks):
    """Let every Dropout within a module keep what `masks` says, one after the other; returns what it was asked for."""
    left, asked = list(masks), []

    def keep_mask(shape, generator=None, device=None):
        asked.append({"shape": list(shape), "generator": generator is not None and generator.initial_seed()})
        return left.pop(0) if len(left) > 1 else left[0]

    for part in module.modules():
        if hasattr(part, "keep_mask"):
            part.keep_mask = keep_mask
    return asked


# LayerNorm


@graded("LayerNorm", weight=2, rows=[{"d_model": 5}])
def check_layer_norm_parameters(impl, rng, d_model):
    """LayerNorm registers weight and bias, both (d_model,), and begins with ones and zeros."""
    return initial(impl.LayerNorm(d_model))


@graded(
    "LayerNorm",
    weight=4,
    rows=[{"shape": [2, 3, 5]}, {"shape": [7]}, {"shape": [4, 2, 3, 6]}],
    pins="values, leading axes",
)
def check_layer_norm_values(impl, rng, shape):
    """Each token is normalised by its own mean and variance, then weight multiplies and bias is added."""
    return rng.fill(impl.LayerNorm(shape[-1]))(rng.randn(*shape, scale=2.0, shift=1.5))


@graded("LayerNorm", weight=3, rows=[{"eps": {}, "scale": 0.004}, {"eps": {"eps": 0.3}, "scale": 0.8}])
def check_layer_norm_eps(impl, rng, eps, scale):
    """eps is added to the variance, inside the root; it is the one that was asked for, else 1e-5."""
    return rng.fill(impl.LayerNorm(6, **eps))(rng.randn(2, 3, 6, scale=scale))


@graded("LayerNorm", weight=1, rows=[{"tokens": 3}], pins="equal entries")
def check_layer_norm_equal_entries(impl, rng, tokens):
    """A token whose entries are all equal comes out as the bias, and its gradient stays finite."""
    x = rng.integers(-3, 4, tokens, 1, dtype="float32").repeat(1, 8).requires_grad_()  # sums of 8 equal ones are exact
    return gradients(rng.fill(impl.LayerNorm(8))(x), rng.randn(tokens, 8), x=x)


@graded("LayerNorm", weight=1, rows=[{"shape": [9, 16], "shift": 40.0}])
def check_layer_norm_large_mean(impl, rng, shape, shift):
    """A mean that is large beside the spread costs no digits: deviations are taken before they are squared."""
    return rng.fill(impl.LayerNorm(shape[-1]))(rng.randn(*shape, shift=shift))


@graded("LayerNorm", weight=2, rows=[{"shape": [2, 3, 5]}])
def check_layer_norm_gradients(impl, rng, shape):
    """Gradients reach x, weight and bias, through the mean and the variance too."""
    layer, x = rng.fill(impl.LayerNorm(shape[-1])), rng.randn(*shape, requires_grad=True)
    return gradients(layer(x), rng.randn(*shape), x=x, **dict(layer.named_parameters()))


@graded(
    "LayerNorm",
    weight=1,
    rows=[
        {"dtype": "float16", "parameters": "float16", "scale": 400.0},
        {"dtype": "bfloat16", "parameters": "float32", "scale": 2.0},
        {"dtype": "float64", "parameters": "float64", "scale": 2.0},
    ],
)
def check_layer_norm_dtype(impl, rng, dtype, parameters, scale):
    """The result has the dtype of x; float16 and bfloat16 are computed in float32, where squares do not overflow."""
    return rng.fill(impl.LayerNorm(7), parameters)(rng.randn(2, 3, 7, dtype=dtype, scale=scale))


@graded("LayerNorm", weight=1, rows=[{"shape": [2, 3, 5]}], pins="in-place safety, non-contiguous input")
def check_layer_norm_leaves_input_alone(impl, rng, shape):
    """LayerNorm takes an input that is not contiguous in memory and does not change it."""
    x = rng.randn(*shape, contiguous=False)
    return {"output": rng.fill(impl.LayerNorm(shape[-1]))(x), "x after the call": x}


# RMSNorm


@graded("RMSNorm", weight=1, rows=[{"d_model": 5}])
def check_rms_norm_parameters(impl, rng, d_model):
    """RMSNorm registers weight (d_model,) and nothing else, and begins with ones."""
    return initial(impl.RMSNorm(d_model))


@graded("RMSNorm", weight=3, rows=[{"shape": [2, 3, 5]}, {"shape": [7]}], pins="values")
def check_rms_norm_values(impl, rng, shape):
    """Each token is divided by the root of the mean of its squares, the mean left in, then weight multiplies."""
    return rng.fill(impl.RMSNorm(shape[-1]))(rng.randn(*shape, scale=2.0, shift=1.5))


@graded("RMSNorm", weight=2, rows=[{"eps": {}, "scale": 0.004}, {"eps": {"eps": 0.3}, "scale": 0.8}])
def check_rms_norm_eps(impl, rng, eps, scale):
    """eps is added to the mean square, inside the root; it is the one that was asked for, else 1e-5."""
    x = rng.randn(4, 3, 6, scale=scale)
    x[1] = 0
    return rng.fill(impl.RMSNorm(6, **eps))(x)


@graded("RMSNorm", weight=1, rows=[{"shape": [2, 3, 5]}])
def check_rms_norm_gradients(impl, rng, shape):
    """Gradients reach x and weight, through the root mean square too."""
    layer, x = rng.fill(impl.RMSNorm(shape[-1])), rng.randn(*shape, requires_grad=True)
    return gradients(layer(x), rng.randn(*shape), x=x, **dict(layer.named_parameters()))


@graded(
    "RMSNorm",
    weight=2,
    rows=[
        {"dtype": "float16", "parameters": "float16", "scale": 400.0},
        {"dtype": "bfloat16", "parameters": "float32", "scale": 2.0},
        {"dtype": "float64", "parameters": "float64", "scale": 2.0},
    ],
)
def check_rms_norm_dtype(impl, rng, dtype, parameters, scale):
    """The result has the dtype of x; float16 and bfloat16 are computed in float32, where squares do not overflow."""
    return rng.fill(impl.RMSNorm(7), parameters)(rng.randn(2, 3, 7, dtype=dtype, scale=scale))


@graded("RMSNorm", weight=1, rows=[{"shape": [2, 3, 5]}], pins="in-place safety, non-contiguous input")
def check_rms_norm_leaves_input_alone(impl, rng, shape):
    """RMSNorm takes an input that is not contiguous in memory and does not change it."""
    x = rng.randn(*shape, contiguous=False)
    return {"output": rng.fill(impl.RMSNorm(shape[-1]))(x), "x after the call": x}


# gelu and silu


@graded("gelu", weight=4, rows=[{"shape": [2, 3, 5]}, {"shape": [7]}])
def check_gelu_exact(impl, rng, shape):
    """gelu(x) is x (1 + erf(x / sqrt(2))) / 2, also when it is asked for by name."""
    x = rng.randn(*shape, scale=1.5)
    return {"gelu(x)": impl.gelu(x), "gelu(x, 'none')": impl.gelu(x, "none")}


@graded("gelu", weight=3, rows=[{"shape": [2, 3, 5]}, {"shape": [7]}], pins="values")
def check_gelu_tanh(impl, rng, shape):
    """gelu(x, "tanh") is the formula with tanh that GPT-2 uses."""
    return impl.gelu(rng.randn(*shape, scale=1.5), approximate="tanh")


@graded("gelu", weight=2, rows=[{"approximate": "none"}, {"approximate": "tanh"}], pins="gradients")
def check_gelu_gradient(impl, rng, approximate):
    """The gradient reaches x and is finite for large x too."""
    x = torch.cat([rng.randn(6, scale=1.5), rng.integers(90, 110, 2, dtype="float32")]).requires_grad_()
    return gradients(impl.gelu(x, approximate), rng.randn(8), x=x)


@graded(
    "gelu",
    weight=2,
    rows=[{"dtype": "float16", "approximate": "tanh"}, {"dtype": "bfloat16", "approximate": "none"}],
)
def check_gelu_half_precision(impl, rng, dtype, approximate):
    """The result has the dtype of x; float16 and bfloat16 are computed in float32, where x³ does not overflow."""
    x = rng.randn(4, 7, dtype=dtype, scale=120.0, requires_grad=True)
    return gradients(impl.gelu(x, approximate), rng.randn(4, 7, dtype=dtype), x=x)


@graded("gelu", weight=1, rows=[{"approximate": "none"}, {"approximate": "tanh"}])
def check_gelu_float64(impl, rng, approximate):
    """A float64 input is computed and returned in float64, and it is not changed, whatever its layout in memory."""
    x = rng.randn(3, 5, dtype="float64", contiguous=False)
    return {"output": impl.gelu(x, approximate), "x after the call": x}


@graded("gelu", weight=1, rows=[{"approximate": "sigmoid"}])
def check_gelu_refuses_other_names(impl, rng, approximate):
    """An `approximate` that is neither "none" nor "tanh" is a ValueError that names it."""
    return impl.gelu(rng.randn(3), approximate)


@graded("silu", weight=3, rows=[{"shape": [2, 3, 5]}, {"shape": [7]}], pins="leading axes")
def check_silu_values(impl, rng, shape):
    """silu(x) is x / (1 + exp(-x))."""
    return impl.silu(rng.randn(*shape, scale=2.0))


@graded("silu", weight=2, rows=[{"size": 200}])
def check_silu_gradient(impl, rng, size):
    """The gradient reaches x, and is finite for entries of ±200 too."""
    high, low = (rng.integers(s - 3, s + 4, 2, dtype="float32") for s in (size, -size))
    x = torch.cat([rng.randn(5, scale=2.0), high, low]).requires_grad_()
    return gradients(impl.silu(x), rng.randn(9), x=x)


@graded("silu", weight=1, rows=[{"dtype": "float16"}, {"dtype": "bfloat16"}, {"dtype": "float64"}], pins="dtypes")
def check_silu_dtype(impl, rng, dtype):
    """The result has the dtype of x, and x is not changed."""
    x = rng.randn(3, 5, dtype=dtype)
    return {"output": impl.silu(x), "x after the call": x}


# FeedForward and SwiGLU


@graded(
    "FeedForward",
    weight=2,
    rows=[{"d_model": 3, "d_ff": 7, "bias": True}, {"d_model": 5, "d_ff": 4, "bias": False}],
)
def check_feed_forward_parameters(impl, rng, d_model, d_ff, bias):
    """The parameters are those of up_proj and down_proj; d_ff is what was asked for, biases are there when asked."""
    return registered(impl.FeedForward(d_model, d_ff, bias=bias))


@graded("FeedForward", weight=3, rows=[{"shape": [2, 3, 5], "d_ff": 7}, {"shape": [4], "d_ff": 6}])
def check_feed_forward_values(impl, rng, shape, d_ff):
    """By default it is down_proj(gelu(up_proj(x), "tanh")), for any leading axes."""
    return rng.fill(impl.FeedForward(shape[-1], d_ff))(rng.randn(*shape, scale=1.5))


@graded("FeedForward", weight=3, rows=[{"activation": "gelu"}, {"activation": "gelu_tanh"}, {"activation": "silu"}])
def check_feed_forward_activation(impl, rng, activation):
    """The activation is the one that was asked for."""
    return rng.fill(impl.FeedForward(5, 7, activation=activation))(rng.randn(2, 3, 5, scale=1.5))


@graded("FeedForward", weight=2, rows=[{"bias": True}, {"bias": False}], pins="gradients")
def check_feed_forward_gradients(impl, rng, bias):
    """Gradients reach x and every parameter, with and without biases."""
    layer, x = rng.fill(impl.FeedForward(3, 7, bias=bias)), rng.randn(2, 4, 3, requires_grad=True)
    return gradients(layer(x), rng.randn(2, 4, 3), x=x, **dict(layer.named_parameters()))


@graded("FeedForward", weight=1, rows=[{"dtype": "bfloat16"}, {"dtype": "float64"}], pins="dtypes, in-place safety")
def check_feed_forward_dtype(impl, rng, dtype):
    """A layer moved to another dtype gives results of that dtype, and x is not changed."""
    x = rng.randn(2, 3, 5, dtype=dtype)
    return {"output": rng.fill(impl.FeedForward(5, 7), dtype)(x), "x after the call": x}


@graded("FeedForward", weight=1, rows=[{"activation": "swish2"}])
def check_feed_forward_refuses_other_names(impl, rng, activation):
    """An activation that is not one of the three is a ValueError that names it, when the layer is made."""
    return registered(impl.FeedForward(3, 7, activation=activation))


@graded(
    "SwiGLU", weight=2, rows=[{"d_model": 3, "d_ff": 7, "bias": {}}, {"d_model": 5, "d_ff": 4, "bias": {"bias": True}}]
)
def check_swiglu_parameters(impl, rng, d_model, d_ff, bias):
    """The parameters are those of gate_proj, up_proj and down_proj, with biases only when asked."""
    return registered(impl.SwiGLU(d_model, d_ff, **bias))


@graded("SwiGLU", weight=5, rows=[{"shape": [2, 3, 5], "bias": False}, {"shape": [4], "bias": True}])
def check_swiglu_values(impl, rng, shape, bias):
    """silu of gate_proj(x) multiplies up_proj(x), entry by entry, and down_proj leads back to d_model."""
    return rng.fill(impl.SwiGLU(shape[-1], 7, bias=bias))(rng.randn(*shape, scale=1.5))


@graded("SwiGLU", weight=2, rows=[{"shape": [2, 4, 3]}], pins="gradients")
def check_swiglu_gradients(impl, rng, shape):
    """Gradients reach x and all three weights."""
    layer, x = rng.fill(impl.SwiGLU(shape[-1], 7)), rng.randn(*shape, requires_grad=True)
    return gradients(layer(x), rng.randn(*shape), x=x, **dict(layer.named_parameters()))


@graded("SwiGLU", weight=1, rows=[{"dtype": "bfloat16"}, {"dtype": "float64"}], pins="dtypes, in-place safety")
def check_swiglu_dtype(impl, rng, dtype):
    """A layer moved to another dtype gives results of that dtype, and x is not changed."""
    x = rng.randn(2, 3, 5, dtype=dtype)
    return {"output": rng.fill(impl.SwiGLU(5, 7), dtype)(x), "x after the call": x}


# Dropout


@graded("Dropout", weight=2, rows=[{"shape": [2, 3, 5], "p": 0.3}], pins="values")
def check_dropout_values(impl, rng, shape, p):
    """While training an entry that keep_mask drops is 0, and one that it keeps is divided by 1 - p."""
    layer = impl.Dropout(p)
    draw_from(layer, rng.bools(*shape, share=0.6))
    x = rng.randn(*shape, requires_grad=True)
    return gradients(layer(x), rng.randn(*shape), x=x)


@graded("Dropout", weight=2, rows=[{"p": 0.4}])
def check_dropout_evaluation(impl, rng, p):
    """In evaluation mode, or with p = 0, x comes back as it is; train() switches dropping on again."""
    layer, x = impl.Dropout(p), rng.randn(3, 5)
    draw_from(layer, rng.bools(3, 5))
    modes = {"after eval()": layer.eval()(x), "after eval() and train()": layer.train()(x)}
    return modes | {"with p = 0": impl.Dropout(0.0)(x)}


@graded("Dropout", weight=1, rows=[{"shape": [2, 3, 5], "seed": 7}])
def check_dropout_asks_keep_mask(impl, rng, shape, seed):
    """forward asks keep_mask once for a mask of x's shape and hands the generator on; in evaluation it does not ask."""
    layer, x = impl.Dropout(0.4), rng.randn(*shape)
    asked = draw_from(layer, rng.bools(*shape))
    layer(x, torch.Generator().manual_seed(seed))
    layer.eval()(x, torch.Generator().manual_seed(seed))
    return asked


@graded("Dropout", weight=2, rows=[{"p": 0.3}, {"p": 0.8}])
def check_dropout_share(impl, rng, p):
    """keep_mask gives a bool mask that is True for a share 1 - p of the entries, in every row and every column."""
    mask = impl.Dropout(p).keep_mask((400, 200), torch.Generator().manual_seed(1))
    rows, columns = (mask.double().mean(dim=dim).std().item() > 0.2 for dim in (1, 0))
    seen = {"mask": f"{mask.dtype}, {list(mask.shape)}", "kept, in tenths": round(10 * mask.double().mean().item())}
    return seen | {"whole rows are dropped": rows, "whole columns are dropped": columns}


@graded("Dropout", weight=2, rows=[{"p": 0.5, "seed": 3}])
def check_dropout_generator(impl, rng, p, seed):
    """The same state of the generator gives the same mask, drawing moves it on, and torch's own is left alone."""
    layer, generator, before = impl.Dropout(p), torch.Generator().manual_seed(seed), torch.get_rng_state()
    first, second = (layer.keep_mask((30, 20), generator) for _ in range(2))
    again = layer.keep_mask((30, 20), torch.Generator().manual_seed(seed))
    same = {"same state, same mask": torch.equal(first, again), "next draw, same mask": torch.equal(first, second)}
    untouched = torch.equal(before, torch.get_rng_state())
    other = impl.Dropout(p).keep_mask((30, 20), torch.Generator().manual_seed(seed + 1))
    alike = torch.equal(layer.keep_mask((30, 20)), layer.keep_mask((30, 20)))
    same |= {"other state, same mask": torch.equal(first, other), "without a generator, same mask": alike}
    return same | {"torch's own generator untouched": untouched}


@graded("Dropout", weight=1, rows=[{"dtype": "bfloat16"}, {"dtype": "float64"}], pins="dtypes, in-place safety")
def check_dropout_dtype(impl, rng, dtype):
    """The result has the dtype of x, and x is not changed."""
    layer, x = impl.Dropout(0.3), rng.randn(3, 5, dtype=dtype)
    draw_from(layer, rng.bools(3, 5, share=0.6))
    return {"output": layer(x), "x after the call": x}


@graded("Dropout", weight=1, rows=[{"p": 1.5}, {"p": -0.1}, {"p": 1.0}])
def check_dropout_refuses_p(impl, rng, p):
    """A p below 0, or of 1 and above, is a ValueError that names it."""
    return registered(impl.Dropout(p))


# TransformerBlock


@graded(
    "TransformerBlock", weight=2, rows=[{"d_ff": 10, "bias": True}, {"d_ff": 7, "bias": False}], pins="registration"
)
def check_block_parameters(impl, rng, d_ff, bias):
    """The parameters are those of norm1, attention, norm2 and feed_forward, under these names."""
    return registered(impl.TransformerBlock(6, 3, d_ff, bias=bias))


@graded("TransformerBlock", weight=4, rows=[{"seq_len": 5, "n_heads": 3}, {"seq_len": 4, "n_heads": 2}], pins="values")
def check_block_pre_norm(impl, rng, seq_len, n_heads):
    """By default each part works on normalised tokens and its result is added to the tokens as they were."""
    return rng.fill(impl.TransformerBlock(6, n_heads, 10))(rng.randn(2, seq_len, 6, scale=1.5, shift=0.5))


@graded("TransformerBlock", weight=4, rows=[{"seq_len": 5, "n_heads": 3}, {"seq_len": 4, "n_heads": 2}], pins="values")
def check_block_post_norm(impl, rng, seq_len, n_heads):
    """With norm="post" each part works on the tokens as they are, and the sum is normalised."""
    return rng.fill(impl.TransformerBlock(6, n_heads, 10, norm="post"))(rng.randn(2, seq_len, 6, scale=1.5, shift=0.5))


@graded(
    "TransformerBlock",
    weight=2,
    rows=[{"options": {"activation": "silu"}}, {"options": {"activation": "gelu"}}, {"options": {"bias": False}}],
)
def check_block_options(impl, rng, options):
    """activation and bias reach the parts."""
    return rng.fill(impl.TransformerBlock(6, 2, 10, **options))(rng.randn(3, 4, 6, scale=1.5))


@graded("TransformerBlock", weight=2, rows=[{"norm": "pre"}, {"norm": "post"}])
def check_block_masks(impl, rng, norm):
    """mask and causal are passed on to attention."""
    block, x = rng.fill(impl.TransformerBlock(6, 2, 10, norm=norm)), rng.randn(3, 5, 6)
    mask = rng.bools(3, 1, 5, 5, share=0.6)
    both = block(x, mask=mask, causal=False)
    return {"with a mask": block(x, mask), "with causal=False": block(x, causal=False), "with both": both}


@graded("TransformerBlock", weight=2, rows=[{"norm": "pre"}, {"norm": "post"}], pins="gradients")
def check_block_gradients(impl, rng, norm):
    """Gradients reach x and every parameter."""
    block, x = rng.fill(impl.TransformerBlock(6, 2, 10, norm=norm)), rng.randn(3, 4, 6, requires_grad=True)
    parameters = dict(block.named_parameters())
    parameters.pop("attention.k_proj.bias", None)  # a bias of k shifts all scores of a query: its gradient is zero
    return gradients(block(x), rng.randn(3, 4, 6), x=x, **parameters)


@graded("TransformerBlock", weight=2, rows=[{"norm": "pre", "dropout": 0.3}, {"norm": "post", "dropout": 0.4}])
def check_block_dropout(impl, rng, norm, dropout):
    """While training, dropout works on the result of attention and on that of feed_forward, before they are added."""
    block = rng.fill(impl.TransformerBlock(6, 2, 10, norm=norm, dropout=dropout))
    asked = draw_from(block, rng.bools(3, 4, 6, share=0.6), rng.bools(3, 4, 6, share=0.6))
    output = block(rng.randn(3, 4, 6), generator=torch.Generator().manual_seed(5))
    return {"output": output, "draws": asked}


@graded("TransformerBlock", weight=1, rows=[{"dropout": 0.4}], pins="train/eval mode")
def check_block_evaluation(impl, rng, dropout):
    """eval() switches dropout off in both places, and train() on again."""
    block, x = rng.fill(impl.TransformerBlock(6, 2, 10, dropout=dropout)), rng.randn(3, 4, 6)
    draw_from(block, rng.bools(3, 4, 6, share=0.6))
    return {"after eval()": block.eval()(x), "after eval() and train()": block.train()(x)}


@graded("TransformerBlock", weight=1, rows=[{"norm": "pre"}, {"norm": "post"}], pins="state-dict round trip")
def check_block_state_dict(impl, rng, norm):
    """A second block that loads the state dict of the first gives the same result."""
    first, second = (impl.TransformerBlock(6, 3, 10, norm=norm) for _ in range(2))
    second.load_state_dict(rng.fill(first).state_dict())
    return second.to(first.norm1.weight.dtype)(rng.randn(2, 5, 6))


@graded("TransformerBlock", weight=1, rows=[{"dtype": "bfloat16"}, {"dtype": "float64"}], pins="dtypes")
def check_block_dtype(impl, rng, dtype):
    """A block moved to another dtype gives results of that dtype."""
    return rng.fill(impl.TransformerBlock(6, 2, 10), dtype)(rng.randn(3, 4, 6, dtype=dtype))


@graded(
    "TransformerBlock", weight=1, rows=[{"norm": "pre"}, {"norm": "post"}], pins="in-place safety, non-contiguous input"
)
def check_block_leaves_input_alone(impl, rng, norm):
    """The block takes an input that is not contiguous in memory and does not change it."""
    x = rng.randn(3, 4, 6, contiguous=False)
    return {"output": rng.fill(impl.TransformerBlock(6, 2, 10, norm=norm))(x), "x after the call": x}


@graded("TransformerBlock", weight=1, rows=[{"norm": "sandwich"}])
def check_block_refuses_other_names(impl, rng, norm):
    """A norm that is neither "pre" nor "post" is a ValueError that names it, when the block is made."""
    return registered(impl.TransformerBlock(6, 2, 10, norm=norm))
