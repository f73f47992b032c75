"""The graded checks of module 5 on the loop: steps, evaluation, checkpoints."""

import contextlib
from functools import partial

import numpy as np
import torch
from check_training import batch_of, generator_of, states
from torch import nn

from grader import graded

graded = partial(graded, second_device=False)  # autocast and torch.save know real devices only


class Tiny(nn.Module):
    """Token ids to logits, with a note of how each forward pass was run."""

    def __init__(self, vocab_size=7, d_model=4):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.hidden = nn.Linear(d_model, 5)
        self.head = nn.Linear(5, vocab_size)
        self.seen = []

    def forward(self, token_ids):
        device = token_ids.device.type
        cast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        self.seen.append(f"modes {modes_of(self)}, gradients {torch.is_grad_enabled()}, autocast {cast}")
        return self.head(torch.tanh(self.hidden(self.embedding(token_ids))))


def modes_of(model):
    """A letter a module: t for train, e for eval."""
    return "".join("te"[not module.training] for module in model.modules())


def values(module):
    return {name: p.detach().clone() for name, p in module.named_parameters()}


# train_step


def sgd(model, lr=9.0):
    """The lr is far off: a step has to set its own."""
    return torch.optim.SGD([{"params": [p]} for p in model.parameters()], lr=lr)


def steps_of(impl, model, optimizer, steps, **options):
    """Every step's loss and norm, then what became of the model."""
    results = [impl.train_step(model, optimizer, micro_batches, lr, **options) for micro_batches, lr in steps]
    return {"losses and norms": results, "parameters": values(model)}


@graded("train_step", weight=4, rows=[{"left_out": [0, 4, 2]}, {"left_out": [3, 5, 1]}])
def check_step_accumulates_by_targets(impl, rng, left_out):
    """Several micro-batches are one batch: each target weighs the same, and one without targets weighs nothing."""
    model = rng.fill(Tiny())
    micro_batches = [batch_of(rng, 2 + i, 5, n) for i, n in enumerate(left_out)]
    return steps_of(impl, model, sgd(model), [(micro_batches, 0.5)], max_norm=100.0)


@graded("train_step", weight=2, rows=[{"max_norm": 0.05}])
def check_step_clips_the_whole(impl, rng, max_norm):
    """The gradient of the whole step is clipped, once; the norm that is returned is the one before."""
    model = rng.fill(Tiny())
    micro_batches = [batch_of(rng, 2, 5, n) for n in (1, 3)]
    return steps_of(impl, model, sgd(model), [(micro_batches, 0.5)], max_norm=max_norm)


@graded("train_step", weight=2, rows=[{"scale": 2.0}])
def check_step_forgets_old_gradients(impl, rng, scale):
    """Gradients from before the step count nothing, nor do those of the step before."""
    model = rng.fill(Tiny())
    for p in model.parameters():
        p.grad = rng.randn(*p.shape, scale=scale)
    return steps_of(impl, model, sgd(model), [([batch_of(rng, 3, 4)], lr) for lr in (0.5, 0.3)], max_norm=100.0)


@graded("train_step", weight=3, rows=[{"steps": 20}], pins="many steps")
def check_step_many(impl, rng, steps):
    """Twenty steps with AdamW and a schedule: every loss and norm, the parameters and the state at the end."""
    model = rng.fill(Tiny())
    optimizer = torch.optim.AdamW(model.parameters(), lr=9.0, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.1)
    plan = [([batch_of(rng, 2, 5, 1), batch_of(rng, 3, 4, 2)], 0.02 / (step + 1)) for step in range(steps)]
    return steps_of(impl, model, optimizer, plan, max_norm=100.0) | {"state": states(optimizer)}


@graded("train_step", weight=1, rows=[{"autocast": False}, {"autocast": True}], pins="train mode, mixed precision")
def check_step_modes(impl, rng, autocast):
    """The model runs in train mode, and in bfloat16 autocast when asked for; parameters and gradients stay wide."""
    model = rng.fill(Tiny()).eval()
    before = model.head.weight.dtype
    impl.train_step(model, sgd(model), [batch_of(rng, 2, 3)], 0.1, autocast=autocast)
    same = [p.dtype == p.grad.dtype == before for p in model.parameters() if p.grad is not None]
    return {"seen": model.seen, "modes after the call": modes_of(model), "dtypes are kept": all(same)}


@graded("train_step", weight=1, rows=[{"batches": 2}, {"batches": 1}])
def check_step_refuses_no_target(impl, rng, batches):
    """Micro-batches without any target are a ValueError that names them."""
    model = rng.fill(Tiny())
    return impl.train_step(model, sgd(model), [batch_of(rng, 2, 3, 3) for _ in range(batches)], 0.1)


# evaluate


@graded("evaluate", weight=3, rows=[{"left_out": [1, 4, 0, 5]}, {"left_out": [2, 3]}])
def check_evaluate_values(impl, rng, left_out):
    """The loss is the mean over all targets of all batches; batches may come from a generator."""
    model = rng.fill(Tiny())
    batches = [batch_of(rng, 2 + i, 5, n) for i, n in enumerate(left_out)]
    return impl.evaluate(model, (batch for batch in batches))


@graded("evaluate", weight=2, rows=[{"training": True}, {"training": False}])
def check_evaluate_modes(impl, rng, training):
    """The model runs in eval mode without a graph; then every module is in the mode it was in before."""
    model = rng.fill(Tiny()).train(training)
    model.hidden.train(not training)
    impl.evaluate(model, [batch_of(rng, 2, 3)])
    found = {"seen": model.seen, "modes after the call": modes_of(model), "gradients on": torch.is_grad_enabled()}
    return found | {"gradients": [p.grad for p in model.parameters()]}


@graded("evaluate", weight=1, rows=[{"batches": 0}, {"batches": 2}])
def check_evaluate_refuses_no_target(impl, rng, batches):
    """Batches without any target are a ValueError that names them."""
    return impl.evaluate(rng.fill(Tiny()), [batch_of(rng, 2, 3, 3) for _ in range(batches)])


# save_checkpoint and load_checkpoint


def trained(rng, steps):
    """A model, an optimizer with a state, and a generator that has been drawn from."""
    model, generator = rng.fill(Tiny()), generator_of(rng)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, eps=1e-2)
    for _ in range(steps):
        for p in model.parameters():
            p.grad = rng.randn(*p.shape)
        optimizer.step()
        torch.randint(9, (3,), generator=generator)
        torch.rand(2)
    return model, optimizer, generator


def everything(model, optimizer, generator):
    own = {"generator": generator.get_state(), "torch's generator": torch.get_rng_state()}
    return {"parameters": values(model), "state": states(optimizer), "lr": optimizer.param_groups[0]["lr"]} | own


def other_run(rng):
    """The same kinds of objects with other values in them."""
    model, generator = rng.fill(Tiny()), torch.Generator().manual_seed(5)
    with torch.no_grad():
        model.head.weight.zero_()
    return model, torch.optim.AdamW(model.parameters(), lr=0.5, eps=1e-2), generator


def written(path, model, optimizer, step, generator):
    """A checkpoint as the docstring of save_checkpoint describes it."""
    states_ = {"generator": generator.get_state(), "torch_generator": torch.get_rng_state()}
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step, **states_}, path)


@graded("save_checkpoint", weight=3, rows=[{"step": 37}])
def check_save_contents(impl, rng, scratch, step):
    """The file holds model, optimizer, step, generator and torch_generator; nothing else is left in the folder."""
    run = model, optimizer, generator = trained(rng, 3)
    before = everything(*run)
    impl.save_checkpoint(scratch / "run.pt", model, optimizer, step, generator)
    found = torch.load(scratch / "run.pt", weights_only=True)
    names = sorted(path.name for path in scratch.iterdir())
    return {"before": before, "file": found, "names": names, "after": everything(*run)}


class Unwritable(Tiny):
    """A model that cannot be saved once it is armed."""

    def get_extra_state(self):
        return (lambda: None) if self.seen else 0

    def set_extra_state(self, state):
        pass


@graded("save_checkpoint", weight=1, rows=[{"step": 8}])
def check_save_keeps_the_earlier_file(impl, rng, scratch, step):
    """When writing fails half-way, the earlier checkpoint is still there and whole."""
    model = rng.fill(Unwritable())
    optimizer = sgd(model)
    impl.save_checkpoint(scratch / "run.pt", model, optimizer, step, generator_of(rng))
    model.seen.append("armed")
    with contextlib.suppress(Exception):
        impl.save_checkpoint(scratch / "run.pt", model, optimizer, step + 1, generator_of(rng))
    try:
        return {"step": torch.load(scratch / "run.pt", weights_only=True)["step"]}
    except Exception:
        return {"not whole, but there": (scratch / "run.pt").exists()}


@graded("load_checkpoint", weight=3, rows=[{"step": 12}])
def check_load_restores(impl, rng, scratch, step):
    """The step is returned; model, optimizer, generator and torch's generator are as they were when it was written."""
    run = trained(rng, 3)
    saved = everything(*run)
    written(scratch / "run.pt", run[0], run[1], step, run[2])
    other = other_run(rng)
    torch.rand(4)
    return {"output": impl.load_checkpoint(scratch / "run.pt", *other), "saved": saved, "loaded": everything(*other)}


@graded("load_checkpoint", weight=1, rows=[{"step": 3}])
def check_load_refuses_objects(impl, rng, scratch, step):
    """A file with anything but tensors and plain values in it is not loaded: it could run a stranger's code."""
    model, optimizer, generator = trained(rng, 1)
    written(scratch / "run.pt", model, optimizer, step, generator)
    impl.load_checkpoint(scratch / "run.pt", model, optimizer, generator)  # a right one is not refused
    written(scratch / "run.pt", model, optimizer, scratch, generator)  # a path for a number
    try:
        return {"loaded": str(type(impl.load_checkpoint(scratch / "run.pt", model, optimizer, generator)))}
    except Exception as error:
        return {"refused": "weights_only" in str(error).lower()}


# train


def run_of(impl, rng, total_steps=8, **changes):
    """train's first arguments: texts, and a config in which no value is neutral."""
    shape = {"batch": 3, "seq_len": 4, "accumulation": 2, "max_lr": 0.05, "min_lr": 0.01, "warmup_steps": 2}
    books = {"betas": (0.8, 0.9), "eps": 1e-2, "weight_decay": 0.5, "max_norm": 0.4, "seed": 11}
    often = {"eval_every": 3, "eval_batches": 2, "save_every": 2}
    texts = [rng.integers(0, 7, n).cpu().numpy().astype(np.uint16) for n in (60, 40)]
    return [*texts, impl.TrainConfig(total_steps=total_steps, **shape | books | often | changes)]


@graded("train", weight=3, rows=[{"accumulation": 2, "seed": 11}, {"accumulation": 1, "seed": 3}], pins="values")
def check_train_values(impl, rng, accumulation, seed):
    """Losses, rates, norms and validation losses are right at every step, and the parameters at the end."""
    model = rng.fill(Tiny())
    records = impl.train(model, *run_of(impl, rng, accumulation=accumulation, seed=seed))
    return {"output": records, "parameters": values(model)}


@graded("train", weight=3, rows=[{"stop_at": 4}, {"stop_at": 5}])  # after a step without and with validation
def check_train_resumes(impl, rng, scratch, stop_at):
    """A run that is stopped and goes on from its checkpoint is the run that was not stopped, bit for bit."""
    arguments = run_of(impl, rng)
    whole, first, second = (rng.fill(Tiny()) for _ in range(3))
    records = impl.train(whole, *arguments)
    parts = [impl.train(first, *arguments, scratch / "run.pt", lambda record: record["step"] == stop_at)]
    with torch.no_grad():
        second.head.weight.zero_()
    parts += [impl.train(second, *arguments, scratch / "run.pt")]
    apart = {name: p - values(second)[name] for name, p in values(whole).items()}
    return {"records": records, "in two parts": parts, "parameters": values(second), "difference": apart}


@graded("train", weight=1, rows=[{"save_every": 5, "total_steps": 11}], pins="save_every")
def check_train_saves(impl, rng, scratch, save_every, total_steps):
    """The checkpoint is written after every save_every steps and at the end; then there is nothing left to do."""
    path, found = scratch / "run.pt", {}

    def look(record):
        if (record["step"] + 1) % save_every and path.exists():
            found[f"at step {record['step']}"] = torch.load(path, weights_only=True)["step"]

    model, arguments = rng.fill(Tiny()), run_of(impl, rng, total_steps, save_every=save_every)
    impl.train(model, *arguments, path, look)
    return found | {"end": torch.load(path, weights_only=True)["step"], "again": impl.train(model, *arguments, path)}


@graded("train", weight=1, rows=[{"autocast": True}, {"autocast": False}], pins="mixed precision")
def check_train_passes_autocast_on(impl, rng, autocast):
    """autocast of the config reaches the training step; the validation runs without it and without a graph."""
    model = rng.fill(Tiny())
    impl.train(model, *run_of(impl, rng, 2, autocast=autocast, accumulation=1))
    return model.seen
