"""The graded checks of module 3. No two sizes in a row are equal, so a swapped axis cannot pass by luck.

A check returns what the implementation gave back; the judge compares it with the reference. What is drawn at random is
returned as rounded moments or as a difference that must be zero. Hidden rows stand in hidden_gpt.toml.
"""

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
    return impl.Embedding(7, 4).to(rng.device)(torch.tensor([[0, 3], [wrong, 6]], device=rng.device))


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
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.sub_(0.01 * parameter.grad)
    return {"lm_head": model.lm_head.weight, "token_embedding": model.token_embedding.weight}


@graded("GPT", weight=2, rows=[{"sizes": TIED, "seq_len": 5}, {"sizes": UNTIED, "seq_len": 4}], pins="state dict")
def check_gpt_state_dict_round_trip(impl, rng, sizes, seq_len):
    """A model that loads another's state dict gives its logits, and a tied one stays tied."""
    model, other = rng.fill(impl.GPT(**sizes)), impl.GPT(**sizes)
    other.to(next(model.parameters())).load_state_dict(model.state_dict())
    return {"logits": other(rng.integers(0, 9, 4, seq_len)), "different parameters": len(list(other.parameters()))}


@graded("GPT", weight=1, rows=[{"sizes": TIED, "seq_len": 5}], pins="train/eval mode, in-place safety")
def check_gpt_modes(impl, rng, sizes, seq_len):
    """Training and evaluation mode give the same logits; a call changes neither the mode nor token_ids."""
    model, token_ids = rng.fill(impl.GPT(**sizes)), rng.integers(0, 9, 4, seq_len)
    seen = {"logits in training": model.train()(token_ids), "training after it": model.training}
    return seen | {"logits": model.eval()(token_ids), "training": model.training, "token_ids": token_ids}


@graded("GPT", weight=1, rows=[{"seq_len": 4}], pins="device", second_device=True)
def check_gpt_on_another_device(impl, rng, seq_len):
    """A model on a GPU works there: the positions are made on the device of token_ids."""
    return rng.fill(impl.GPT(**UNTIED))(rng.integers(0, 9, 2, seq_len))


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
    impl.init_weights(model, rng.generator(seed))
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
    model, before = impl.GPT(**TIED).to(rng.device), torch.get_rng_state()
    impl.init_weights(model, rng.generator(seed))
    return {
        "changed by the same seed": {name: bool((one[name] != same[name]).any()) for name in one},
        "changed by another seed": {name: bool((one[name] != other[name]).any()) for name in one},
        "torch's generator is where it was": torch.equal(before, torch.get_rng_state()),
    }


@graded("init_weights", weight=1, rows=[{"sizes": TIED}], pins="registration")
def check_init_weights_keep_the_parameters(impl, rng, sizes):
    """The parameters get values, are the same objects as before, and still require gradients."""
    model = rng.fill(impl.GPT(**sizes).to(rng.device))
    before, embedding = named(model), model.token_embedding.weight.detach().clone()
    impl.init_weights(model, rng.generator(1))
    same = {name: p is before[name] for name, p in named(model).items()}
    drawn = not torch.equal(model.token_embedding.weight, embedding)
    trains = {name: p.requires_grad for name, p in named(model).items()}
    return {"same Parameter": same, "token_embedding is drawn": drawn, "requires_grad": trains}


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
