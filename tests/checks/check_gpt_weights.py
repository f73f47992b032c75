"""The graded checks of module 3 on loading GPT-2's weights."""

import torch
from check_gpt import named

from grader import graded

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
        source[f"{prefix}h.{i}.attn.bias"] = torch.ones(1, 1, 8, 8, device=rng.device).tril()
        source[f"{prefix}h.{i}.attn.masked_bias"] = torch.tensor(-1e4, device=rng.device)
    impl.load_gpt2_weights(model, source)
    return {name: p.detach() for name, p in named(model).items()}


@graded("load_gpt2_weights", weight=2, rows=[{"own": True}, {"own": False}])
def check_load_untied_head(impl, rng, own):
    """An untied lm_head gets the checkpoint's lm_head.weight, and where there is none the token embedding."""
    model = rng.fill(impl.GPT(11, 8, 6, 3, 2, tie_weights=False))
    impl.load_gpt2_weights(model, checkpoint(rng) | ({"lm_head.weight": rng.randn(11, 6)} if own else {}))
    return {"lm_head": model.lm_head.weight, "token_embedding": model.token_embedding.weight}


@graded("load_gpt2_weights", weight=2, rows=[{"tied": True}, {"tied": False}], pins="in-place safety")
def check_load_copies(impl, rng, tied):
    """What is loaded goes into the same parameters, tied or not as they were, and the checkpoint stays as it is."""
    model, source = rng.fill(impl.GPT(11, 8, 6, 3, 2, tie_weights=tied)), checkpoint(rng)
    before = named(model)
    source |= {"lm_head.weight": source["wte.weight"].clone()} if tied else {}
    impl.load_gpt2_weights(model, source)
    same = {name: p is before[name] for name, p in named(model).items()}
    loaded = torch.equal(model.norm_f.bias, source["ln_f.bias"])
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1)
    return {"same Parameter": same, "norm_f is loaded": loaded, "checkpoint after the model has changed": source}


@graded("load_gpt2_weights", weight=1, rows=[{"dtype": "bfloat16"}], pins="dtypes")
def check_load_keeps_the_dtype(impl, rng, dtype):
    """The parameters keep their own dtype, whatever that of the checkpoint."""
    model = impl.GPT(11, 8, 6, 3, 2).to(rng.device, getattr(torch, dtype))
    impl.load_gpt2_weights(model, {name: tensor.float() for name, tensor in checkpoint(rng).items()})
    return {name: p.detach() for name, p in named(model).items() if "norm" in name or "attention" in name}


REFUSED = ["gone h.1.ln_2.bias", "h.2.ln_1.bias", "wpe.weight", "lm_head.weight"]


@graded("load_gpt2_weights", weight=2, rows=[{"what": what} for what in REFUSED])
def check_load_refuses(impl, rng, what):
    """A tensor too few, too many or of another shape, or a head for a tied model: a ValueError names state_dict."""
    source, name = checkpoint(rng), what.removeprefix("gone ")
    if name == what:
        source[name] = rng.randn(*([6] if "ln_1" in name else [9, 6] if "wpe" in name else [11, 6]))
    else:
        del source[name]
    impl.load_gpt2_weights(impl.GPT(11, 8, 6, 3, 2), source)
