"""Training a GPT: tokens a second of the reference and of given, beside transformers' GPT-2 of the same shape."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

VOCAB_SIZE, CONTEXT_LENGTH, D_MODEL, N_HEADS, N_LAYERS = 2048, 256, 256, 4, 4
BATCH, STEPS = 2, 3  # of one turn
Facts = dict[str, Any]


@dataclass(frozen=True)
class Trained:
    """One model with its optimizer; `step` trains on a batch and gives the loss."""

    name: str
    step: Callable[[Any], float]


def compete(rounds: int) -> Facts:
    """Every model takes STEPS steps in turn, on the same tokens from the same weights, with one thread."""
    import torch

    try:
        import transformers
    except ModuleNotFoundError:
        return {"note": "transformers is not installed: pip install -e '.[oracles]'"}
    from assignments.given import gpt as given
    from reference import gpt as reference

    torch.set_num_threads(1)  # two wait for each other where the machine has other work
    theirs = _gpt2(transformers)
    models = [Trained("transformers", _step(theirs, lambda token_ids: theirs(token_ids).logits))]
    state = {name: tensor.clone() for name, tensor in theirs.transformer.state_dict().items()}
    for name, impl in (("given", given), ("reference", reference)):
        model = impl.GPT(VOCAB_SIZE, CONTEXT_LENGTH, D_MODEL, N_HEADS, N_LAYERS)
        impl.load_gpt2_weights(model, state)
        models.append(Trained(name, _step(model, model)))
    batch = torch.randint(VOCAB_SIZE, (BATCH, CONTEXT_LENGTH + 1), generator=torch.Generator().manual_seed(0))
    losses = {model.name: [model.step(batch), model.step(batch)] for model in models}  # warms up as well
    if any(abs(one[i] - losses["transformers"][i]) > 1e-3 for one in losses.values() for i in (0, 1)):
        raise SystemExit(f"the models do not train alike, so their speeds say nothing: {losses}")
    speeds: dict[str, list[float]] = {model.name: [] for model in models}
    for _ in range(rounds):
        for model in models:
            start = time.perf_counter()
            for _ in range(STEPS):
                model.step(batch)
            speeds[model.name].append(STEPS * BATCH * CONTEXT_LENGTH / (time.perf_counter() - start))
    middle = {name: median(found) for name, found in speeds.items()}
    return {
        "parameters": reference.count_parameters(theirs),
        "shape": f"{N_LAYERS} layers, d_model {D_MODEL}, {BATCH} x {CONTEXT_LENGTH} tokens a step",
        "rounds": rounds,
        "tokens_per_second": speeds,
        "median": middle,
        "ratio": {name: speed / middle["transformers"] for name, speed in middle.items()},
    }


def _gpt2(transformers: Any) -> Any:
    """The rival: GPT-2 without dropout and without a cache."""
    sizes = {"n_positions": CONTEXT_LENGTH, "n_embd": D_MODEL, "n_head": N_HEADS, "n_layer": N_LAYERS}
    without = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0) | {"use_cache": False}
    config = transformers.GPT2Config(vocab_size=VOCAB_SIZE, **sizes, **without, bos_token_id=0, eos_token_id=0)
    return transformers.GPT2LMHeadModel(config)


def _step(model: Any, logits_of: Callable[[Any], Any]) -> Callable[[Any], float]:
    """Forward, loss, backward and AdamW; the same for every model."""
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    model.train()

    def step(batch: Any) -> float:
        logits = logits_of(batch[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step
