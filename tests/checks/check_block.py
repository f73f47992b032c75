"""The graded checks of module 2. No two sizes in a row are equal, so a swapped axis cannot pass by luck.

A check returns what the implementation gave back; the judge compares it with the reference. Hidden rows of the same
checks, with other sizes, stand in hidden_block.toml. Module 1 is the given one.
"""

import torch

from grader import graded, gradients, registered


def initial(module):
    """What the module registers, and the values that its parameters begin with."""
    return registered(module) | {"initial values": dict(sorted(module.named_parameters()))}


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
