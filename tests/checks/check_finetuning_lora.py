"""The graded checks of module 6 on LoRA and the classifier."""

import torch
from check_finetuning import seeded
from torch import nn

from grader import graded, gradients, registered


class Layer(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.q_proj = nn.Linear(d_model, d_model)
        self.xq_proj = nn.Linear(d_model, 3, bias=False)
        self.up = nn.Linear(3, d_model)

    def forward(self, x):
        return x + torch.tanh(self.up(self.xq_proj(torch.tanh(self.q_proj(x)))))


class Tiny(nn.Module):
    """A language model: what position t holds depends on the tokens up to t."""

    def __init__(self, vocab_size=9, d_model=5):
        super().__init__()
        self.token_embedding = nn.Embedding(vocab_size, d_model)
        self.blocks = nn.ModuleList([Layer(d_model), Layer(d_model)])
        self.norm_f = nn.LayerNorm(d_model)
        self.lm_head = nn.Linear(d_model, vocab_size, bias=False)

    def features(self, token_ids):
        x = self.token_embedding(token_ids).cumsum(dim=1)
        for block in self.blocks:
            x = block(x)
        return self.norm_f(x)

    def forward(self, token_ids):
        return self.lm_head(self.features(token_ids))


def trained(parameters):
    return {name: p.requires_grad for name, p in sorted(parameters)}


# LoRALinear


def lora(impl, rng, d_in=5, d_out=4, rank=3, alpha=2.0, bias=True, dropout=0.0, dtype="float32"):
    """A layer in which no value is neutral: lora_B is not zero and alpha is not rank."""
    return rng.fill(impl.LoRALinear(nn.Linear(d_in, d_out, bias=bias), rank, alpha, dropout), dtype)


@graded("LoRALinear", weight=2, rows=[{"bias": True, "rank": 3}, {"bias": False, "rank": 2}])
def check_lora_parameters(impl, rng, bias, rank):
    """base, lora_A (rank, d_in) and lora_B (d_out, rank) are registered; only the factors require gradients."""
    base = nn.Linear(6, 4, bias=bias)
    layer = impl.LoRALinear(base, rank, 5.0)
    same = layer.base is base and layer.base.weight is base.weight
    return registered(layer) | {"trained": trained(layer.named_parameters()), "the same base": same}


@graded("LoRALinear", weight=2, rows=[{"d_in": 40, "rank": 4}])
def check_lora_start(impl, rng, d_in, rank):
    """At first lora_B is zero and the layer gives what base gives; lora_A fills ±1/sqrt(d_in)."""
    layer = impl.LoRALinear(rng.fill(nn.Linear(d_in, 7)), rank, 6.0)
    with torch.no_grad():
        largest = float(layer.lora_A.abs().max()) * d_in**0.5
    inside = {"lora_A is within ±1/sqrt(d_in)": largest <= 1.000001, "lora_A reaches 0.8/sqrt(d_in)": largest > 0.8}
    return inside | {"output": layer(rng.randn(3, d_in)), "lora_B": layer.lora_B.detach()}


@graded(
    "LoRALinear",
    weight=4,
    rows=[{"shape": [2, 3], "rank": 3, "alpha": 2.0}, {"shape": [], "rank": 2, "alpha": 7}],
    pins="values",
)
def check_lora_values(impl, rng, shape, rank, alpha):
    """The output is base(x) + alpha / rank · x lora_Aᵀ lora_Bᵀ, with any leading axes."""
    layer = lora(impl, rng, rank=rank, alpha=alpha)
    return {"output": layer(rng.randn(*shape, 5)), "scaling": float(layer.scaling)}


@graded("LoRALinear", weight=3, rows=[{"batch": 3, "alpha": 5.0}])
def check_lora_gradients(impl, rng, batch, alpha):
    """Gradients reach x and both factors, and nothing arrives at the frozen base."""
    layer, x = lora(impl, rng, alpha=alpha), rng.randn(batch, 5, requires_grad=True)
    found = gradients(layer(x), rng.randn(batch, 4), x=x, lora_A=layer.lora_A, lora_B=layer.lora_B)
    layer(x).sum().backward()
    return found | {"gradient of the base": [p.grad for p in layer.base.parameters()]}


@graded(
    "LoRALinear",
    weight=2,
    rows=[{"dropout": 0.5, "training": True}, {"dropout": 0.4, "training": False}],
    draws=True,
)
def check_lora_dropout(impl, rng, dropout, training):
    """Dropout acts on the way into lora_A alone, draws from the generator, and is off in evaluation mode."""
    layer, x = lora(impl, rng, dropout=dropout).train(training), rng.randn(4, 5)
    first, global_state = rng.generator(5), torch.get_rng_state()
    outputs = [layer(x, first), layer(x, generator=rng.generator(6))]
    untouched = torch.equal(torch.get_rng_state(), global_state)
    return {"outputs": outputs, "torch's generator is untouched": untouched}


@graded("LoRALinear", weight=3, rows=[{"alpha": 5.0, "bias": True}, {"alpha": 0.5, "bias": False}])
def check_lora_merge(impl, rng, alpha, bias):
    """merge adds the product to base.weight, once however often it is called; the output stays what it was."""
    layer, x = lora(impl, rng, alpha=alpha, bias=bias), rng.randn(3, 5)
    weight, before = layer.base.weight, layer(x)
    layer.merge()
    layer.merge()
    kept = {"same Parameter": layer.base.weight is weight, "merged": layer.merged, "frozen": not weight.requires_grad}
    return kept | {"before": before, "after": layer(x), "weight": layer.base.weight.detach().clone()}


@graded("LoRALinear", weight=2, rows=[{"rank": 2, "calls": 2}, {"rank": 3, "calls": 1}])
def check_lora_unmerge(impl, rng, rank, calls):
    """unmerge takes it out again, once; on a layer that is not merged it does nothing."""
    layer, x = lora(impl, rng, rank=rank), rng.randn(2, 5)
    layer.unmerge()
    outputs, weights = [layer(x)], [layer.base.weight.detach().clone()]
    layer.merge()
    for _ in range(calls):
        layer.unmerge()
        outputs, weights = [*outputs, layer(x)], [*weights, layer.base.weight.detach().clone()]
    return {"outputs": outputs, "weights": weights, "merged": layer.merged}


@graded("LoRALinear", weight=1, rows=[{"dropout": 0.5}], pins="merged while training")
def check_lora_merged_drops_nothing(impl, rng, dropout):
    """Once merged there is no way through lora_A any more, so nothing is dropped, also in train mode."""
    layer = lora(impl, rng, dropout=dropout).train()
    layer.merge()
    return layer(rng.randn(3, 5), rng.generator(1))


@graded("LoRALinear", weight=1, rows=[{"seed": 3}])
def check_lora_draws(impl, rng, seed):
    """lora_A is drawn from the generator, and from nothing else."""
    state = torch.get_rng_state()
    base = nn.Linear(6, 4)
    after_base = torch.get_rng_state()
    one, two, three = (
        impl.LoRALinear(base, 2, 1.0, generator=g).lora_A.detach()
        for g in (seeded(seed), seeded(seed), seeded(seed + 1))
    )
    untouched = torch.equal(torch.get_rng_state(), after_base) and not torch.equal(state, after_base)
    return {"same seed": torch.equal(one, two), "other seed": torch.equal(one, three), "only it": untouched}


@graded("LoRALinear", weight=1, rows=[{"rank": 2}], pins="device", second_device=True)
def check_lora_on_another_device(impl, rng, rank):
    """Around a base on a GPU the factors are made there."""
    base = rng.fill(nn.Linear(5, 4))
    layer = impl.LoRALinear(base, rank, 3.0)
    return {"output": layer(rng.randn(2, 5)), "0 * lora_A": 0 * layer.lora_A, "lora_B": layer.lora_B}


@graded("LoRALinear", weight=1, rows=[{"dtype": "bfloat16"}, {"dtype": "float64"}], pins="dtype")
def check_lora_dtype(impl, rng, dtype):
    """The factors and the output have the dtype of base."""
    layer = impl.LoRALinear(nn.Linear(5, 4).to(getattr(torch, dtype)), 2, 3.0)
    output = layer(torch.ones(2, 5, dtype=layer.base.weight.dtype))
    return {"lora_A": str(layer.lora_A.dtype), "lora_B": str(layer.lora_B.dtype), "output": str(output.dtype)}


@graded("LoRALinear", weight=1, rows=[{"rank": 0}, {"rank": -2}])
def check_lora_refuses_rank(impl, rng, rank):
    """A rank below 1 is a ValueError that names it."""
    return type(impl.LoRALinear(nn.Linear(4, 3), rank, 1.0)).__name__


# apply_lora


@graded(
    "apply_lora",
    weight=3,
    rows=[{"names": ["q_proj"]}, {"names": ["up", "xq_proj"]}, {"names": ["lm_head"]}],
    pins="names",
)
def check_apply_wraps(impl, rng, names):
    """Exactly the modules whose own name is given are wrapped; their paths come in the order of the model."""
    model = Tiny()
    paths = impl.apply_lora(model, names, 2, 3.0)
    return {"output": paths, "parameters": sorted(name for name, _ in model.named_parameters())}


@graded("apply_lora", weight=3, rows=[{"names": ["q_proj", "up"], "rank": 2, "alpha": 5.0}], pins="values")
def check_apply_values(impl, rng, names, rank, alpha):
    """The adapted model gives the right logits, with the rank and alpha that were asked for."""
    model = Tiny()
    impl.apply_lora(model, names, rank, alpha)
    return rng.fill(model)(rng.integers(0, 9, 2, 4))


@graded("apply_lora", weight=3, rows=[{"names": ["q_proj"]}])
def check_apply_freezes(impl, rng, names):
    """Only the factors require gradients; the logits are what they were, and every weight is the same object."""
    model = rng.fill(Tiny())
    token_ids, own = rng.integers(0, 9, 2, 4), {id(p) for p in model.parameters()}
    before = model(token_ids).detach()
    impl.apply_lora(model, names, 2, 3.0)
    old = sorted(name for name, p in model.named_parameters() if id(p) in own)
    return {"trained": trained(model.named_parameters()), "before": before, "after": model(token_ids), "old": old}


@graded("apply_lora", weight=2, rows=[{"dropout": 0.5, "seed": 2}])
def check_apply_passes_on(impl, rng, dropout, seed):
    """dropout and the generator reach every layer, and one generator serves them all."""
    model, other = Tiny(), Tiny()
    generator, again = seeded(seed), seeded(seed)
    paths = impl.apply_lora(model, ["up"], 2, 3.0, dropout, generator)
    impl.apply_lora(other, ["up"], 2, 3.0, dropout, generator=again)
    layers = [(model.get_submodule(path), other.get_submodule(path)) for path in paths]
    return {
        "same draws": [torch.equal(one.lora_A, two.lora_A) for one, two in layers],
        "all the same": torch.equal(layers[0][0].lora_A, layers[1][0].lora_A),
        "dropout": [float(one.dropout.p) for one, _ in layers],
    }


@graded("apply_lora", weight=2, rows=[{"names": ["q_proj", "k_proj"]}, {"names": ["proj"]}])
def check_apply_refuses(impl, rng, names):
    """A name that no module has is a ValueError; the model is as it was before."""
    model, raised = Tiny(), None
    impl.apply_lora(Tiny(), ["q_proj"], 2, 3.0)  # a right one is not refused
    try:
        impl.apply_lora(model, names, 2, 3.0)
    except ValueError as error:
        raised = "names" in str(error)
    return {"a ValueError that names names": raised, "parameters": trained(model.named_parameters())}


# SequenceClassifier


@graded("SequenceClassifier", weight=1, rows=[{"n_classes": 3}], pins="names")
def check_classifier_parameters(impl, rng, n_classes):
    """The model is registered as model, the layer as head with a bias."""
    return registered(impl.SequenceClassifier(Tiny(), n_classes))


@graded(
    "SequenceClassifier",
    weight=4,
    rows=[{"lengths": [3, 6, 1], "n_classes": 4}, {"lengths": [2], "n_classes": 2}],
    pins="values",
)
def check_classifier_values(impl, rng, lengths, n_classes):
    """The scores are those of the last real token of each row."""
    classifier = rng.fill(impl.SequenceClassifier(Tiny(), n_classes))
    return classifier(rng.integers(0, 9, len(lengths), max(lengths) + 1), torch.tensor(lengths, device=rng.device))


@graded("SequenceClassifier", weight=2, rows=[{"lengths": [2, 5, 4], "pad_id": 0}], pins="any padding")
def check_classifier_padding(impl, rng, lengths, pad_id):
    """Padding changes nothing, whatever its ids and however long it is; a real token may have the id of the padding."""
    classifier, token_ids = rng.fill(impl.SequenceClassifier(Tiny(), 3)), rng.integers(0, 9, len(lengths), 5)
    token_ids[:, 0] = pad_id
    real = torch.arange(5, device=rng.device) < torch.tensor(lengths, device=rng.device)[:, None]
    padded = [token_ids.masked_fill(~real, other) for other in (pad_id, 8)]
    longer = torch.cat([padded[0], torch.full((len(lengths), 2), pad_id, device=rng.device)], dim=1)
    return [classifier(ids, torch.tensor(lengths, device=rng.device)) for ids in (*padded, longer)]


@graded("SequenceClassifier", weight=2, rows=[{"lengths": [4, 2, 3]}])
def check_classifier_gradients(impl, rng, lengths):
    """Gradients reach the head and the model, but not the embedding of the padding, nor lm_head."""
    classifier = rng.fill(impl.SequenceClassifier(Tiny(), 3))
    token_ids = rng.integers(0, 8, len(lengths), max(lengths))
    token_ids[torch.arange(max(lengths), device=rng.device) >= torch.tensor(lengths, device=rng.device)[:, None]] = 8
    output = classifier(token_ids, torch.tensor(lengths, device=rng.device))
    names = ("head.weight", "head.bias", "model.token_embedding.weight", "model.lm_head.weight")
    return gradients(output, rng.randn(len(lengths), 3), **{name: classifier.get_parameter(name) for name in names})


@graded("SequenceClassifier", weight=1, rows=[{"length": 0}, {"length": 5}])
def check_classifier_refuses_lengths(impl, rng, length):
    """A length below 1 or above seq_len is a ValueError that names lengths."""
    return impl.SequenceClassifier(Tiny(), 2).to(rng.device)(
        rng.integers(0, 9, 2, 4), torch.tensor([3, length], device=rng.device)
    )


@graded("SequenceClassifier", weight=1, rows=[{"n_classes": 1}])
def check_classifier_refuses_classes(impl, rng, n_classes):
    """Fewer than two classes are a ValueError that names n_classes."""
    return type(impl.SequenceClassifier(Tiny(), n_classes)).__name__
