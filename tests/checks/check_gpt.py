"""The graded checks of module 3. No two sizes in a row are equal, so a swapped axis cannot pass by luck.

A check returns what the implementation gave back; the judge compares it with the reference. What is drawn at random is
returned as rounded moments or as a difference that must be zero. Hidden rows stand in hidden_gpt.toml.
"""

import contextlib
import math

import torch
from torch import nn

from grader import graded, gradients, registered

TIED = {"vocab_size": 11, "context_length": 8, "d_model": 6, "n_heads": 3, "n_layers": 2}
UNTIED = {**TIED, "vocab_size": 9, "d_model": 10, "n_heads": 2, "n_layers": 1, "d_ff": 13, "tie_weights": False}


def named(model):
    """Name → parameter in the order of the alphabet, a shared one under all its names."""
    return dict(sorted(model.named_parameters(remove_duplicate=False)))


# Embedding


@graded("Embedding", weight=1, rows=[{"vocab_size": 7, "d_model": 4}], pins="registration")
def check_embedding_parameters(impl, rng, vocab_size, d_model):
    """Embedding registers one parameter, weight, of shape (vocab_size, d_model)."""
    return registered(impl.Embedding(vocab_size, d_model))


@graded("Embedding", weight=2, rows=[{"shape": [2, 3]}, {"shape": [5]}, {"shape": []}, {"shape": [0, 2]}])
def check_embedding_values(impl, rng, shape):
    """Row i of weight comes for token id i, for token_ids of any shape and layout, also without any token."""
    token_ids = rng.integers(0, 7, *shape).permute(tuple(reversed(range(len(shape)))))
    return {"output": rng.fill(impl.Embedding(7, 4))(token_ids), "token_ids after the call": token_ids}


@graded("Embedding", weight=1, rows=[{"dtype": "float32", "seq_len": 9}, {"dtype": "bfloat16", "seq_len": 3}])
def check_embedding_gradient(impl, rng, dtype, seq_len):
    """A row that is looked up twice gets the sum of both gradients, one that is not gets zero; the dtype stays."""
    table = rng.fill(impl.Embedding(5, 4), dtype=dtype)
    return gradients(table(rng.integers(0, 4, 2, seq_len)), rng.randn(2, seq_len, 4, dtype=dtype), **named(table))


@graded("Embedding", weight=1, rows=[{"wrong": 7}, {"wrong": -1}])
def check_embedding_refuses_ids_out_of_range(impl, rng, wrong):
    """A token id that is negative or not below vocab_size is a ValueError that names token_ids."""
    return impl.Embedding(7, 4)(torch.tensor([[0, 3], [wrong, 6]]))


# GPT


@graded("GPT", weight=3, rows=[{"sizes": TIED}, {"sizes": UNTIED}])
def check_gpt_parameters(impl, rng, sizes):
    """The parameters have the names and shapes of the specification; d_ff is 4 * d_model unless it is given."""
    model = impl.GPT(**sizes)
    same = torch.equal(model.lm_head.weight, model.token_embedding.weight)
    seen = {"different parameters": len(list(model.parameters())), "lm_head begins as token_embedding": same}
    return registered(model) | seen


@graded("GPT", weight=4, rows=[{"sizes": TIED, "batch": 4, "seq_len": 5}, {"sizes": UNTIED, "batch": 5, "seq_len": 4}])
def check_gpt_logits(impl, rng, sizes, batch, seq_len):
    """forward gives logits, not probabilities, at every position: (batch, seq_len, vocab_size)."""
    return rng.fill(impl.GPT(**sizes))(rng.integers(0, 9, batch, seq_len))


@graded("GPT", weight=2, rows=[{"sizes": TIED, "seq_len": 5}, {"sizes": UNTIED, "seq_len": 6}])
def check_gpt_features(impl, rng, sizes, seq_len):
    """features gives the stream after norm_f: what lm_head reads."""
    return rng.fill(impl.GPT(**sizes)).features(rng.integers(0, 9, 4, seq_len))


@graded("GPT", weight=2, rows=[{"sizes": TIED, "lengths": [1, 3, 8]}], pins="prefix invariance")
def check_gpt_prefixes(impl, rng, sizes, lengths):
    """The logits of a prefix do not depend on what follows, from one token up to context_length of them."""
    model, token_ids = rng.fill(impl.GPT(**sizes)), rng.integers(0, 9, 4, max(lengths))
    return [model(token_ids[:, :length]) for length in lengths]


@graded("GPT", weight=2, rows=[{"sizes": TIED, "seq_len": 7}], pins="position sensitivity")
def check_gpt_positions(impl, rng, sizes, seq_len):
    """The same token at every position gives other logits at each: every position has a vector of its own."""
    return rng.fill(impl.GPT(**sizes))(rng.integers(0, 9, 4, 1).expand(4, seq_len))


@graded("GPT", weight=3, rows=[{"sizes": TIED, "seq_len": 5}, {"sizes": UNTIED, "seq_len": 7}], pins="gradients")
def check_gpt_gradients(impl, rng, sizes, seq_len):
    """Gradients reach every parameter; a shared table gets those of reading and of writing together."""
    model = rng.fill(impl.GPT(**sizes))
    logits = model(rng.integers(0, 9, 4, seq_len))
    # a bias of the keys moves all scores of a query alike: its gradient is zero but for rounding
    parameters = {name: p for name, p in named(model).items() if not name.endswith("k_proj.bias")}
    return gradients(logits, rng.randn(4, seq_len, sizes["vocab_size"]), **parameters)


@graded("GPT", weight=2, rows=[{"sizes": TIED, "seq_len": 3}, {"sizes": UNTIED, "seq_len": 5}], pins="registration")
def check_gpt_tables_after_a_step(impl, rng, sizes, seq_len):
    """After a step of training lm_head and token_embedding are still one table if tied, and two if not."""
    model = rng.fill(impl.GPT(**sizes))
    logits = model(rng.integers(0, 9, 4, seq_len))
    (logits * rng.randn(4, seq_len, sizes["vocab_size"])).sum().backward()
    torch.optim.SGD(model.parameters(), lr=0.01).step()
    return {"lm_head": model.lm_head.weight, "token_embedding": model.token_embedding.weight}


@graded("GPT", weight=2, rows=[{"sizes": TIED, "seq_len": 5}, {"sizes": UNTIED, "seq_len": 4}], pins="state dict")
def check_gpt_state_dict_round_trip(impl, rng, sizes, seq_len):
    """A model that loads another's state dict gives its logits, and a tied one stays tied."""
    model, other = rng.fill(impl.GPT(**sizes)), impl.GPT(**sizes)
    other.to(next(model.parameters()).dtype).load_state_dict(model.state_dict())
    return {"logits": other(rng.integers(0, 9, 4, seq_len)), "different parameters": len(list(other.parameters()))}


@graded("GPT", weight=1, rows=[{"sizes": TIED, "seq_len": 5}], pins="train/eval mode, in-place safety")
def check_gpt_modes(impl, rng, sizes, seq_len):
    """Training and evaluation mode give the same logits; a call changes neither the mode nor token_ids."""
    model, token_ids = rng.fill(impl.GPT(**sizes)), rng.integers(0, 9, 4, seq_len)
    seen = {"logits in training": model.train()(token_ids), "training after it": model.training}
    return seen | {"logits": model.eval()(token_ids), "training": model.training, "token_ids": token_ids}


@graded("GPT", weight=1, rows=[{"dtype": "bfloat16", "seq_len": 5}, {"dtype": "float64", "seq_len": 7}], pins="dtypes")
def check_gpt_dtype(impl, rng, dtype, seq_len):
    """A model moved to another dtype gives logits of that dtype."""
    return rng.fill(impl.GPT(**TIED), dtype=dtype)(rng.integers(0, 9, 4, seq_len))


@graded("GPT", weight=1, rows=[{"context_length": 4, "seq_len": 5}])
def check_gpt_refuses_long_input(impl, rng, context_length, seq_len):
    """More than context_length tokens are a ValueError that names both."""
    return impl.GPT(11, context_length, 6, 3, 2)(rng.integers(0, 9, 2, seq_len))


# init_std and init_weights


@graded("init_std", weight=3, rows=[{"n_layers": 3}, {"n_layers": 12}])
def check_init_std_residual(impl, rng, n_layers):
    """The two projections that a block adds to the stream get 0.02 / sqrt(2 n_layers)."""
    names = ["blocks.0.attention.out_proj.weight", f"blocks.{n_layers - 1}.feed_forward.down_proj.weight"]
    return [impl.init_std(name, n_layers) for name in names]


@graded("init_std", weight=2, rows=[{"n_layers": 3}])
def check_init_std_others(impl, rng, n_layers):
    """Every other weight gets 0.02: the tables, lm_head and the other projections."""
    inner = ["attention.q_proj", "attention.k_proj", "attention.v_proj", "feed_forward.up_proj"]
    names = ["token_embedding", "position_embedding", "lm_head", *(f"blocks.1.{name}" for name in inner)]
    return {name: impl.init_std(f"{name}.weight", n_layers) for name in names}


@graded("init_std", weight=1, rows=[{"n_layers": 0}])
def check_init_std_refuses_no_layers(impl, rng, n_layers):
    """n_layers below 1 is a ValueError that names it."""
    return impl.init_std("blocks.0.attention.out_proj.weight", n_layers)


def initialised(impl, rng, n_layers, tie_weights=True, seed=1):
    """A model that held other values, after init_weights."""
    model = rng.fill(impl.GPT(90, 40, 24, 2, n_layers, tie_weights=tie_weights))
    impl.init_weights(model, torch.Generator().manual_seed(seed))
    return model


@graded("init_weights", weight=3, rows=[{"n_layers": 2}, {"n_layers": 1}])
def check_init_weights_spread(impl, rng, n_layers):
    """Each weight's standard deviation is that of init_std, to within a fifth, and its mean is about 0."""
    seen = {}
    for name, p in named(initialised(impl, rng, n_layers, tie_weights=False)).items():
        if p.ndim > 1:
            std, mean = float(p.detach().std()), float(p.detach().mean())
            step = round(2 * math.log2(max(std, 1e-9) / 0.02))  # of a factor sqrt(2)
            seen[name] = {"std": round(0.02 * 2 ** (step / 2), 5), "mean / std": round(2 * mean / max(std, 1e-9)) / 2}
    return seen


@graded("init_weights", weight=2, rows=[{"n_layers": 2}])
def check_init_weights_vectors(impl, rng, n_layers):
    """Biases are 0 and norm weights are 1, whatever they were before."""
    vectors = {name: p.detach() for name, p in named(initialised(impl, rng, n_layers)).items() if p.ndim == 1}
    return {name: {"mean": round(float(p.mean()), 1) + 0.0, "values": len(p.unique())} for name, p in vectors.items()}


@graded("init_weights", weight=1, rows=[{"n_layers": 1}])
def check_init_weights_are_normal(impl, rng, n_layers):
    """The weights are normal: the mean of their fourth powers is 3 std⁴ (1.8 std⁴ if they were uniform)."""
    weights = [p.detach().double().flatten() for p in initialised(impl, rng, n_layers).parameters() if p.ndim > 1]
    moment = torch.cat([weight / weight.std() for weight in weights]).pow(4).mean()
    return {"fourth moment / std⁴": float((2 * moment).round() / 2)}


@graded(
    "init_weights", weight=2, rows=[{"n_layers": 2, "tied": True}, {"n_layers": 1, "tied": False}], pins="first loss"
)
def check_init_weights_first_loss(impl, rng, n_layers, tied):
    """The first loss is about ln(vocab_size): a new model knows nothing, and does not believe that it does."""
    model, token_ids = initialised(impl, rng, n_layers, tied), rng.integers(0, 90, 6, 41)
    loss = nn.functional.cross_entropy(model(token_ids[:, :-1]).detach().flatten(0, 1), token_ids[:, 1:].flatten())
    return {"loss - ln(vocab_size)": round(float(loss) - math.log(90), 1) + 0.0}


@graded("init_weights", weight=2, rows=[{"n_layers": 1, "seed": 5}])
def check_init_weights_draw_from_the_generator(impl, rng, n_layers, seed):
    """The same seed gives the same weights, another seed others, and torch's own generator is left alone."""
    one, same, other = (named(initialised(impl, rng, n_layers, seed=s)) for s in (seed, seed, seed + 1))
    model, before = impl.GPT(**TIED), torch.get_rng_state()
    impl.init_weights(model, torch.Generator().manual_seed(seed))
    return {
        "changed by the same seed": {name: bool((one[name] != same[name]).any()) for name in one},
        "changed by another seed": {name: bool((one[name] != other[name]).any()) for name in one},
        "torch's generator is where it was": torch.equal(before, torch.get_rng_state()),
    }


@graded("init_weights", weight=1, rows=[{"sizes": TIED}], pins="registration")
def check_init_weights_keep_the_parameters(impl, rng, sizes):
    """The parameters are the same objects as before, and still require gradients."""
    model = impl.GPT(**sizes)
    before = named(model)
    impl.init_weights(model, torch.Generator().manual_seed(1))
    same = {name: p is before[name] for name, p in named(model).items()}
    return {"same Parameter": same, "requires_grad": {name: p.requires_grad for name, p in named(model).items()}}


# count_parameters


@graded("count_parameters", weight=2, rows=[{"sizes": TIED, "frozen": ""}, {"sizes": UNTIED, "frozen": "blocks.0"}])
def check_count_parameters(impl, rng, sizes, frozen):
    """Every parameter counts, also one that needs no gradient, and a shared one once."""
    model = impl.GPT(**sizes)
    model.get_submodule(frozen).requires_grad_(not frozen)
    return impl.count_parameters(model)


@graded("count_parameters", weight=2, rows=[{"sizes": TIED}, {"sizes": UNTIED}])
def check_count_parameters_non_embedding(impl, rng, sizes):
    """With non_embedding both tables are left out, a tied lm_head with them, an untied one not."""
    return impl.count_parameters(impl.GPT(**sizes), non_embedding=True)


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
    logits = torch.full((3, 7), other)
    for row, places in enumerate(([0, 2, 3, 6], [1, 2, 4, 5], [0, 3, 5, 6])):
        logits[row, places] = 1.5 * row  # four tokens of probability 1/4 each
    return impl.top_p_filter(logits, p)


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
        sums = (token_ids * torch.arange(1, token_ids.shape[1] + 1)).cumsum(dim=1) % 13
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
    rows=[{"lasts": [3, 2, 5], "more": 9}, {"lasts": [3, 0, 5], "more": 3}, {"lasts": [4, 4], "more": 6}],
)
def check_generate_stops(impl, rng, lasts, more):
    """A sequence that has drawn stop is filled with it, and nothing is added once all have; a prompt ends nothing."""
    down = nn.functional.one_hot((torch.arange(7) - 1) % 7, 7) * 1e4  # from n to n - 1, from 0 to 6
    return impl.generate(Table(down), torch.tensor([[4, 1, last] for last in lasts]), more, stop=1)


@graded(
    "generate", weight=2, rows=[{"options": {"temperature": 0}}, {"options": {"top_k": 1}}, {"options": {"top_p": 0.0}}]
)
def check_generate_greedy(impl, rng, options):
    """temperature, top_k and top_p arrive: each of 0, 1 and 0 leaves only the most probable token."""
    return impl.generate(Table(rng.randn(9, 9)), rng.integers(0, 9, 6, 2), 5, **options)


@graded("generate", weight=2, rows=[{"weights": [3, 12, 9], "top_k": None}, {"weights": [6, 1, 2], "top_k": 2}])
def check_generate_frequencies(impl, rng, weights, top_k):
    """Tokens are drawn with their probabilities (to within 1/16), each for itself and each anew."""
    model, prompts = Table(torch.tensor([weights]).log().expand(3, 3)), torch.zeros(3000, 1, dtype=torch.int64)
    new = impl.generate(model, prompts, 2, top_k=top_k, generator=torch.Generator())[:, 1:]
    pairs = nn.functional.one_hot(new[:, 0] * 3 + new[:, 1], 9).double().mean(dim=0).reshape(3, 3)
    return {"first": (pairs.sum(dim=1) * 8).round() / 8, "both": (pairs * 5).round() / 5}  # six deviations from .5


@graded("generate", weight=1, rows=[{"seed": 3}])
def check_generate_draws_from_the_generator(impl, rng, seed):
    """The same seed gives the same tokens, another seed others, and torch's own generator is left alone."""
    model, prompts, before = Table(torch.zeros(9, 9)), rng.integers(0, 9, 40, 2), torch.get_rng_state()
    draw = [
        impl.generate(model, prompts, 3, generator=torch.Generator().manual_seed(s)) for s in (seed, seed, seed + 1)
    ]
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


# load_gpt2_weights


def checkpoint(rng, prefix="", vocab_size=11, context_length=8, d_model=6, n_layers=2):
    """Tensors in the layout of a published GPT-2: its names, Conv1D weights as (d_in, d_out)."""
    shapes = {"wte.weight": [vocab_size, d_model], "wpe.weight": [context_length, d_model]}
    conv = {"attn.c_attn": [1, 3], "attn.c_proj": [1, 1], "mlp.c_fc": [1, 4], "mlp.c_proj": [4, 1]}
    for i in range(n_layers):
        shapes |= {f"h.{i}.ln_{n}.{kind}": [d_model] for n in (1, 2) for kind in ("weight", "bias")}
        shapes |= {f"h.{i}.{name}.weight": [d_model * n for n in pair] for name, pair in conv.items()}
        shapes |= {f"h.{i}.{name}.bias": [d_model * pair[1]] for name, pair in conv.items()}
    shapes |= {"ln_f.weight": [d_model], "ln_f.bias": [d_model]}
    return {prefix + name: rng.randn(*shape) for name, shape in shapes.items()}


@graded("load_gpt2_weights", weight=4, rows=[{"prefix": "", "n_layers": 2}, {"prefix": "transformer.", "n_layers": 3}])
def check_load_values(impl, rng, prefix, n_layers):
    """Every weight comes to its place, with or without transformer. in front of the names and masks among them."""
    model, source = rng.fill(impl.GPT(11, 8, 6, 3, n_layers)), checkpoint(rng, prefix, n_layers=n_layers)
    for i in range(2 if prefix else 1):
        source[f"{prefix}h.{i}.attn.bias"] = torch.ones(1, 1, 8, 8).tril()
        source[f"{prefix}h.{i}.attn.masked_bias"] = torch.tensor(-1e4)
    impl.load_gpt2_weights(model, source)
    return {name: p.detach() for name, p in named(model).items()}


@graded("load_gpt2_weights", weight=2, rows=[{"own": True}, {"own": False}])
def check_load_untied_head(impl, rng, own):
    """An untied lm_head gets the checkpoint's lm_head.weight, and where there is none the token embedding."""
    model = rng.fill(impl.GPT(11, 8, 6, 3, 2, tie_weights=False))
    impl.load_gpt2_weights(model, checkpoint(rng) | ({"lm_head.weight": rng.randn(11, 6)} if own else {}))
    return {"lm_head": model.lm_head.weight, "token_embedding": model.token_embedding.weight}


@graded("load_gpt2_weights", weight=2, rows=[{"tied": True}], pins="in-place safety")
def check_load_copies(impl, rng, tied):
    """The parameters stay the same objects, tied ones tied, and share no memory with the checkpoint."""
    model, source = rng.fill(impl.GPT(11, 8, 6, 3, 2, tie_weights=tied)), checkpoint(rng)
    before = named(model)
    source["lm_head.weight"] = source["wte.weight"].clone()
    impl.load_gpt2_weights(model, source)
    same = {name: p is before[name] for name, p in named(model).items()}
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1)
    return {"same Parameter": same, "checkpoint after the model has changed": source}


@graded("load_gpt2_weights", weight=1, rows=[{"dtype": "bfloat16"}], pins="dtypes")
def check_load_keeps_the_dtype(impl, rng, dtype):
    """The parameters keep their own dtype, whatever that of the checkpoint."""
    model = impl.GPT(11, 8, 6, 3, 2).to(getattr(torch, dtype))
    impl.load_gpt2_weights(model, {name: tensor.float() for name, tensor in checkpoint(rng).items()})
    return {name: p.detach() for name, p in named(model).items() if "norm" in name or "attention" in name}


REFUSED = ["gone h.1.ln_2.bias", "h.2.ln_1.bias", "wpe.weight", "lm_head.weight"]


@graded("load_gpt2_weights", weight=2, rows=[{"what": what} for what in REFUSED])
def check_load_refuses(impl, rng, what):
    """A tensor too few or too many, of another shape, or a head of its own for a tied model is a ValueError."""
    source, name = checkpoint(rng), what.removeprefix("gone ")
    if name == what:
        source[name] = rng.randn(*([6] if "ln_1" in name else [9, 6] if "wpe" in name else [11, 6]))
    else:
        del source[name]
    impl.load_gpt2_weights(impl.GPT(11, 8, 6, 3, 2), source)
