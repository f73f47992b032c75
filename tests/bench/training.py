"""Training a GPT: tokens a second of the reference and of given, beside somebody else's of the same shape."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

STEPS = 3  # of one turn
HOW = {"cpu": "AdamW, one thread", "cuda": "fused AdamW, bfloat16 autocast, compiled"}
Facts = dict[str, Any]


@dataclass(frozen=True)
class Shape:
    """The sizes of a model and of its batches."""

    vocab_size: int
    context_length: int
    d_model: int
    n_heads: int
    n_layers: int
    batch: int

    @property
    def model(self) -> tuple[int, int, int, int, int]:
        return self.vocab_size, self.context_length, self.d_model, self.n_heads, self.n_layers


SMALL = Shape(2048, 256, 256, 4, 4, batch=2)
LARGE = Shape(50304, 1024, 768, 12, 12, batch=8)


def compete(rounds: int) -> Facts:
    """On the CPU with one thread, beside transformers' GPT-2; two threads wait for each other on a busy machine."""
    import torch

    try:
        import transformers
    except ModuleNotFoundError:
        return {"note": "transformers is not installed: pip install -e '.[oracles]'"}
    torch.set_num_threads(1)
    theirs = _gpt2(transformers)
    state = {name: tensor.clone() for name, tensor in theirs.transformer.state_dict().items()}
    models = {"transformers": (theirs, lambda token_ids: theirs(token_ids).logits)}
    return _race(models | _ours(SMALL, state), SMALL, "cpu", rounds)


def compete_on_gpu(rounds: int) -> Facts:
    """On the GPU in bfloat16 autocast, compiled, beside nanoGPT's arrangement of torch.nn."""
    import torch

    from .arranged import Arranged

    if not torch.cuda.is_available():
        return {"note": "this machine has no GPU that torch can use, so training on one was skipped"}
    theirs = Arranged(*LARGE.model)
    state = _published(LARGE)
    theirs.load_published(state)
    models = {"torch.nn, as nanoGPT": (theirs, theirs)} | _ours(LARGE, state)
    for model, _ in models.values():
        model.to("cuda").compile()
    return _race(models, LARGE, "cuda", rounds)


def _ours(shape: Shape, state: dict[str, Any]) -> dict[str, Any]:
    """given and reference with the weights of a checkpoint."""
    from assignments.given import gpt as given
    from reference import gpt as reference

    models = {}
    for name, impl in (("given", given), ("reference", reference)):
        model = impl.GPT(*shape.model)
        impl.load_gpt2_weights(model, state)
        models[name] = (model, model)
    return models


def _published(shape: Shape) -> dict[str, Any]:
    """Random weights in the layout of a published GPT-2."""
    import torch

    generator, d = torch.Generator().manual_seed(0), shape.d_model
    sizes = {"wte.weight": (shape.vocab_size, d), "wpe.weight": (shape.context_length, d)}
    layers = {"attn.c_attn": (d, 3 * d), "attn.c_proj": (d, d), "mlp.c_fc": (d, 4 * d), "mlp.c_proj": (4 * d, d)}
    norms = ["ln_f"]
    for i in range(shape.n_layers):
        norms += [f"h.{i}.ln_1", f"h.{i}.ln_2"]
        for name, size in layers.items():
            sizes |= {f"h.{i}.{name}.weight": size, f"h.{i}.{name}.bias": size[1:]}
    state = {name: 0.02 * torch.randn(size, generator=generator) for name, size in sizes.items()}
    return state | {
        f"{n}.{kind}": torch.full((d,), float(kind == "weight")) for n in norms for kind in ("weight", "bias")
    }


def _race(models: dict[str, Any], shape: Shape, device: str, rounds: int) -> Facts:
    """Every model takes STEPS steps in turn, on the same tokens from the same weights; the first is the rival."""
    import torch

    rival = next(iter(models))
    steps = {name: _step(model, logits_of, device) for name, (model, logits_of) in models.items()}
    size = (shape.batch, shape.context_length + 1)
    batch = torch.randint(shape.vocab_size, size, generator=torch.Generator().manual_seed(0)).to(device)
    losses = {name: [step(batch), step(batch)] for name, step in steps.items()}  # warms up as well
    allowed = 1e-3 if device == "cpu" else 0.05
    if any(abs(one[i] - losses[rival][i]) > allowed for one in losses.values() for i in (0, 1)):
        raise SystemExit(f"the models do not train alike, so their speeds say nothing: {losses}")
    speeds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            for _ in range(STEPS):
                step(batch)  # the loss is read, so a GPU has finished
            speeds[name].append(STEPS * shape.batch * shape.context_length / (time.perf_counter() - start))
    middle = {name: median(found) for name, found in speeds.items()}
    tokens = f"{shape.batch} x {shape.context_length} tokens a step"
    return {
        "parameters": sum(parameter.numel() for parameter in models[rival][0].parameters()),
        "shape": f"{shape.n_layers} layers, d_model {shape.d_model}, {tokens}",
        "how": HOW[device],
        "rounds": rounds,
        "tokens_per_second": speeds,
        "median": middle,
        "ratio": {name: speed / middle[rival] for name, speed in middle.items()},
    }


def _gpt2(transformers: Any) -> Any:
    """The rival: GPT-2 without dropout and without a cache."""
    _, context_length, d_model, n_heads, n_layers = SMALL.model
    sizes = {"n_positions": context_length, "n_embd": d_model, "n_head": n_heads, "n_layer": n_layers}
    without = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0) | {"use_cache": False}
    config = transformers.GPT2Config(vocab_size=SMALL.vocab_size, **sizes, **without, bos_token_id=0, eos_token_id=0)
    return transformers.GPT2LMHeadModel(config)


def _step(model: Any, logits_of: Callable[[Any], Any], device: str) -> Callable[[Any], float]:
    """Forward, loss, backward and AdamW; the same for every model."""
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=device == "cuda")  # nanoGPT's choice as well
    model.train()

    def step(batch: Any) -> float:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
            logits = logits_of(batch[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step
