"""The graded checks of module 2 on the layers that are built from norms and activations."""

import torch

from grader import graded, gradients, registered


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
    """The activation is the one that was asked for, whatever another layer was made with."""
    layer = rng.fill(impl.FeedForward(5, 7, activation=activation))
    impl.FeedForward(5, 7, activation="gelu" if activation == "silu" else "silu")
    return layer(rng.randn(2, 3, 5, scale=1.5))


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
    """In evaluation mode, or with p = 0, x comes back as it is; training drops, with gradients or without."""
    layer, x = impl.Dropout(p), rng.randn(3, 5)
    draw_from(layer, rng.bools(3, 5))
    modes = {"after eval()": layer.eval()(x), "after eval() and train()": layer.train()(x)}
    with torch.no_grad():
        modes["under no_grad()"] = layer(x)
    return modes | {"with p = 0": impl.Dropout(0.0)(x)}


@graded("Dropout", weight=1, rows=[{"shape": [2, 3, 5], "seed": 7}])
def check_dropout_asks_keep_mask(impl, rng, shape, seed):
    """forward asks keep_mask once for a mask of x's shape and hands the generator on; in evaluation it does not ask."""
    layer, x = impl.Dropout(0.4), rng.randn(*shape)
    asked = draw_from(layer, rng.bools(*shape))
    layer(x, rng.generator(seed))
    layer.eval()(x, rng.generator(seed))
    return asked


@graded("Dropout", weight=1, rows=[{"p": 0.4}], pins="device", second_device=True)
def check_dropout_on_another_device(impl, rng, p):
    """The mask is drawn on the device of x. What was drawn is not compared, only where it is."""
    output = impl.Dropout(p)(rng.randn(30, 50))
    return {"0 * output": 0 * output, "some are dropped": output.any().item() and not output.all().item()}


@graded("Dropout", weight=1, rows=[{"shape": [3, 4]}], pins="device", second_device=True)
def check_dropout_mask_on_another_device(impl, rng, shape):
    """keep_mask draws on the device that is asked for. What was drawn is not compared, only where it is."""
    return impl.Dropout(0.4).keep_mask(shape, device=rng.device).logical_and(torch.tensor(False))


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
    output = block(rng.randn(3, 4, 6), generator=rng.generator(5))
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
    first, second = (impl.TransformerBlock(6, 3, 10, norm=norm).to(rng.device) for _ in range(2))
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
