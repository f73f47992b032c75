"""The graded checks of module 3 on sampling: filters, distributions and generate."""

import contextlib
import math

import torch
from torch import nn

from grader import graded, gradients

# apply_temperature, top_k_filter, top_p_filter: each also shows what has become of its input


@graded(
    "apply_temperature",
    weight=3,
    rows=[
        {"shape": [2, 3, 5], "temperature": 0.7, "dtype": "float32"},
        {"shape": [4], "temperature": 3, "dtype": "bfloat16"},
    ],
)
def check_temperature_values(impl, rng, shape, temperature, dtype):
    """The logits are divided by the temperature, with any leading axes, and stay as they were."""
    logits = rng.randn(*shape, dtype=dtype)
    return {"output": impl.apply_temperature(logits, temperature), "logits after the call": logits}


@graded("apply_temperature", weight=3, rows=[{"shape": [2, 3, 7], "ties": False}, {"shape": [9, 6], "ties": True}])
def check_temperature_zero(impl, rng, shape, ties):
    """At temperature 0 the largest logit, of equal ones the first, keeps its value and the others are -inf."""
    return impl.apply_temperature(rng.integers(2, 4, *shape, dtype="float32") if ties else rng.randn(*shape), 0)


@graded("apply_temperature", weight=1, rows=[{"temperature": -0.5}])
def check_temperature_refuses_negative(impl, rng, temperature):
    """A negative temperature is a ValueError that names it."""
    return impl.apply_temperature(rng.randn(3, 5), temperature)


@graded(
    "top_k_filter",
    weight=3,
    rows=[{"shape": [2, 3, 7], "k": 4, "dtype": "float32"}, {"shape": [6], "k": 1, "dtype": "bfloat16"}],
)
def check_top_k_values(impl, rng, shape, k, dtype):
    """The k largest logits keep their values and the others become -inf, in a new tensor, with any leading axes."""
    logits = rng.randn(*shape, dtype=dtype)
    return {"output": impl.top_k_filter(logits, k), "logits after the call": logits}


@graded("top_k_filter", weight=2, rows=[{"size": 9, "k": 4}])
def check_top_k_ties(impl, rng, size, k):
    """Logits equal to the k-th largest are all kept."""
    return impl.top_k_filter(rng.integers(-2, 3, 5, size, dtype="float32"), k)


@graded("top_k_filter", weight=1, rows=[{"size": 5, "k": 5}, {"size": 5, "k": 8}])
def check_top_k_of_everything(impl, rng, size, k):
    """From k = vocab_size on nothing is filtered."""
    return impl.top_k_filter(rng.randn(3, size), k)


@graded("top_k_filter", weight=1, rows=[{"k": 0}])
def check_top_k_refuses_none(impl, rng, k):
    """A k below 1 is a ValueError that names it."""
    return impl.top_k_filter(rng.randn(3, 5), k)


@graded(
    "top_p_filter",
    weight=3,
    rows=[{"shape": [2, 3, 9], "p": 0.8, "dtype": "float32"}, {"shape": [7], "p": 0.6, "dtype": "float16"}],
)
def check_top_p_values(impl, rng, shape, p, dtype):
    """The most probable tokens stay, each at its place, until their probabilities reach p; the others are -inf."""
    logits = rng.randn(*shape, scale=1.5, dtype=dtype)
    return {"output": impl.top_p_filter(logits, p), "logits after the call": logits}


@graded("top_p_filter", weight=1, rows=[{"p": 0.5, "other": -1e4}, {"p": 0.25, "other": -math.inf}])
def check_top_p_boundary(impl, rng, p, other):
    """A sum of exactly p is enough, and of equal logits the lower id comes first."""
    logits = torch.full((3, 7), other, device=rng.device)
    for row, places in enumerate(([0, 2, 3, 6], [1, 2, 4, 5], [0, 3, 5, 6])):
        logits[row, places] = 1.5 * row  # four tokens of probability 1/4 each
    return impl.top_p_filter(logits, p)


@graded("top_p_filter", weight=1, rows=[{"p": 0.3, "size": 4096, "dtype": "bfloat16"}], pins="dtypes")
def check_top_p_many_tokens(impl, rng, p, size, dtype):
    """Probabilities of bfloat16 logits are summed in float32: in bfloat16 thousands of small ones would be lost."""
    return impl.top_p_filter(torch.zeros(size, dtype=getattr(torch, dtype), device=rng.device), p)


@graded("top_p_filter", weight=1, rows=[{"p": 0.7}], pins="device", second_device=True)
def check_top_p_on_another_device(impl, rng, p):
    """Logits on a GPU are filtered there."""
    return impl.top_p_filter(rng.randn(3, 6), p)


@graded("top_p_filter", weight=1, rows=[{"p": 0.0, "size": 5}, {"p": 1e-6, "size": 7}])
def check_top_p_tiny(impl, rng, p, size):
    """However small p is, the most probable token stays."""
    return impl.top_p_filter(rng.randn(4, size), p)


@graded("top_p_filter", weight=1, rows=[{"size": 6, "shift": 40.0}])
def check_top_p_one(impl, rng, size, shift):
    """At p = 1 every token stays, also one whose probability is lost in the rounding of the sum."""
    return impl.top_p_filter(torch.cat([rng.randn(4, 2, shift=shift), rng.randn(4, size)], dim=1), 1.0)


@graded("top_p_filter", weight=1, rows=[{"p": 1.2}, {"p": -0.1}])
def check_top_p_refuses(impl, rng, p):
    """A p below 0 or above 1 is a ValueError that names it."""
    return impl.top_p_filter(rng.randn(3, 5), p)


# next_token_distribution


@graded("next_token_distribution", weight=2, rows=[{"shape": [2, 3, 7], "dtype": "float32"}], pins="values")
def check_distribution_defaults(impl, rng, shape, dtype):
    """Without any option it is softmax(logits) over the vocabulary, and the logits stay as they were."""
    logits = rng.randn(*shape, dtype=dtype)
    return {"output": impl.next_token_distribution(logits), "logits after the call": logits}


@graded(
    "next_token_distribution",
    weight=3,
    rows=[
        {"temperature": 0.6, "top_k": None, "top_p": None},
        {"temperature": 1.7, "top_k": 3, "top_p": None},
        {"temperature": 2.5, "top_k": None, "top_p": 0.7},
        {"temperature": 0, "top_k": 2, "top_p": None},
        {"temperature": 1.0, "top_k": None, "top_p": 0.0},
    ],
)
def check_distribution_options(impl, rng, temperature, top_k, top_p):
    """Each option does its work, and top_p counts probabilities at the temperature that is asked for."""
    return impl.next_token_distribution(rng.randn(5, 8, scale=2.0), temperature, top_k, top_p)


@graded("next_token_distribution", weight=2, rows=[{"size": 9, "top_k": 4, "top_p": 0.5}])
def check_distribution_order(impl, rng, size, top_k, top_p):
    """With both filters top_p counts the probabilities among the top_k, not among all tokens."""
    return impl.next_token_distribution(rng.randn(6, size), top_k=top_k, top_p=top_p)


@graded(
    "next_token_distribution",
    weight=1,
    rows=[{"dtype": "float16", "temperature": 1e-4}, {"dtype": "bfloat16", "temperature": 0.9}],
    pins="dtypes",
)
def check_distribution_half_precision(impl, rng, dtype, temperature):
    """float16 and bfloat16 are computed in float32: logits / 1e-4 overflow nothing. The dtype comes back."""
    return impl.next_token_distribution(rng.randn(3, 7, dtype=dtype, scale=20.0), temperature)


@graded("next_token_distribution", weight=1, rows=[{"temperature": 0.8, "top_k": 4}], pins="gradients")
def check_distribution_gradient(impl, rng, temperature, top_k):
    """The gradient reaches the logits that are kept."""
    logits = rng.randn(3, 7, requires_grad=True)
    return gradients(impl.next_token_distribution(logits, temperature, top_k), rng.randn(3, 7), logits=logits)


# generate, on models that are made for it


class Scripted(nn.Module):
    """All the weight on one next token: the sum of j * token j of what is read, counted from 1, modulo 13."""

    def __init__(self, context_length, limit=99):
        super().__init__()
        self.context_length, self.limit, self.notes = context_length, limit, []
        self.inner = nn.Dropout(0.5)

    def forward(self, token_ids):
        self.notes.append({"training": self.training or self.inner.training, "gradients": torch.is_grad_enabled()})
        if token_ids.shape[1] > min(self.context_length, self.limit):
            raise OverflowError("the model cannot take that many tokens")
        sums = (token_ids * torch.arange(1, token_ids.shape[1] + 1, device=token_ids.device)).cumsum(dim=1) % 13
        return nn.functional.one_hot(sums, 13) * 2e4 - 1e4


class Table(nn.Module):
    """Logits that depend on the last token alone: a row of a table."""

    context_length = 3

    def __init__(self, rows):
        super().__init__()
        self.rows = rows

    def forward(self, token_ids):
        return self.rows[token_ids]


@graded(
    "generate",
    weight=3,
    rows=[{"seq_len": 4, "more": 6, "context_length": 20}, {"seq_len": 3, "more": 0, "context_length": 9}],
    pins="no new token, in-place safety",
)
def check_generate_appends(impl, rng, seq_len, more, context_length):
    """Each new token comes from the logits at the last position, and the prompt stays in front as it was."""
    token_ids = rng.integers(0, 13, 5, seq_len)
    return {"output": impl.generate(Scripted(context_length), token_ids, more), "token_ids after the call": token_ids}


@graded("generate", weight=2, rows=[{"seq_len": 3, "context_length": 5}, {"seq_len": 8, "context_length": 4}])
def check_generate_crops(impl, rng, seq_len, context_length):
    """The model reads the last context_length tokens, also of a prompt that is longer; all tokens are returned."""
    return impl.generate(Scripted(context_length), rng.integers(0, 13, 4, seq_len), 7)


@graded(
    "generate",
    weight=2,
    rows=[
        {"lasts": [3, 2, 5], "more": 9, "stop": 1},
        {"lasts": [3, 0, 5], "more": 3, "stop": 1},
        {"lasts": [4, 4], "more": 6, "stop": 1},
        {"lasts": [1, 3], "more": 4, "stop": 1},
        {"lasts": [2, 4], "more": 6, "stop": 0},
    ],
)
def check_generate_stops(impl, rng, lasts, more, stop):
    """A sequence that has drawn stop is filled with it, and nothing is added once all have; a prompt ends nothing."""
    down = nn.functional.one_hot((torch.arange(7, device=rng.device) - 1) % 7, 7) * 1e4  # from n to n - 1, from 0 to 6
    prompts = torch.tensor([[4, 1, last] for last in lasts], device=rng.device)
    return impl.generate(Table(down), prompts, more, stop=stop)


@graded(
    "generate", weight=2, rows=[{"options": {"temperature": 0}}, {"options": {"top_k": 1}}, {"options": {"top_p": 0.0}}]
)
def check_generate_greedy(impl, rng, options):
    """temperature, top_k and top_p arrive: each of 0, 1 and 0 leaves only the most probable token."""
    return impl.generate(Table(rng.randn(9, 9)), rng.integers(0, 9, 6, 2), 5, **options)


@graded(
    "generate",
    weight=2,
    rows=[{"weights": [3, 12, 9], "top_k": None}, {"weights": [6, 1, 2], "top_k": 2}],
    second_device=False,  # thousands of draws are slow there
)
def check_generate_frequencies(impl, rng, weights, top_k):
    """Tokens are drawn with their probabilities (to within 1/16), each for itself and each anew."""
    model = Table(torch.tensor([weights], device=rng.device).log().expand(3, 3))
    prompts = torch.zeros(3000, 1, dtype=torch.int64, device=rng.device)
    new = impl.generate(model, prompts, 2, top_k=top_k, generator=rng.generator(67280421310721))[:, 1:]
    pairs = nn.functional.one_hot(new[:, 0] * 3 + new[:, 1], 9).double().mean(dim=0).reshape(3, 3)
    return {"first": (pairs.sum(dim=1) * 8).round() / 8, "both": (pairs * 5).round() / 5}  # six deviations from .5


@graded("generate", weight=1, rows=[{"seed": 3}])
def check_generate_draws_from_the_generator(impl, rng, seed):
    """The same seed gives the same tokens, another seed others, and torch's own generator is left alone."""
    model, prompts = Table(torch.zeros(9, 9, device=rng.device)), rng.integers(0, 9, 40, 2)
    before = torch.get_rng_state()
    draw = [impl.generate(model, prompts, 3, generator=rng.generator(s)) for s in (seed, seed, seed + 1)]
    alone = torch.equal(before, torch.get_rng_state())
    changed = {"same seed": bool((draw[0] - draw[1]).any()), "another seed": bool((draw[0] - draw[2]).any())}
    return {"changed by": changed, "torch's generator is where it was": alone}


@graded("generate", weight=2, rows=[{"mode": [True, False], "limit": 9}, {"mode": [False, True], "limit": 3}])
def check_generate_modes(impl, rng, mode, limit):
    """The model runs in eval mode without a graph; then each part is in the mode it was in, also after an exception."""
    model = Scripted(context_length=9, limit=limit)
    model.training, model.inner.training = mode
    with contextlib.suppress(OverflowError):
        impl.generate(model, rng.integers(0, 13, 3, 2), 4)
    return {"at each call": model.notes, "after": [model.training, model.inner.training]}


@graded("generate", weight=1, rows=[{"seq_len": 3, "more": -1}, {"seq_len": 0, "more": 2}])
def check_generate_refuses(impl, rng, seq_len, more):
    """A negative max_new_tokens and a prompt without tokens are each a ValueError that names the argument."""
    return impl.generate(Scripted(6), rng.integers(0, 13, 4, seq_len), more)


@graded("generate", weight=1, rows=[{"lasts": [3, 2], "more": 4}], pins="device", second_device=True)
def check_generate_on_another_device(impl, rng, lasts, more):
    """With the model and the prompts on a GPU the new tokens are there too, also when stop is given."""
    down = nn.functional.one_hot((torch.arange(7, device=rng.device) - 1) % 7, 7) * 1e4
    prompts = torch.tensor([[4, last] for last in lasts], device=rng.device)
    return impl.generate(Table(down), prompts, more, stop=1)
