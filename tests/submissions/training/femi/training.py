"""Module 5, training. Femi"""

import dataclasses
import math
import os

import numpy as np
import torch
import torch.nn.functional as F
from torch.optim import Optimizer


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    total_steps: int
    batch: int
    seq_len: int
    max_lr: float
    min_lr: float
    warmup_steps: int
    accumulation: int = 1
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.1
    max_norm: float = 1.0
    eval_every: int = 100
    eval_batches: int = 8
    save_every: int = 100
    autocast: bool = False
    seed: int = 0


def cross_entropy(logits, targets, ignore_index=-100):
    """log sum exp minus the logit of the target, averaged over what counts."""
    if logits.shape[:-1] != targets.shape:
        raise ValueError(f"targets {list(targets.shape)} must have the leading axes of logits {list(logits.shape)}")
    n = logits.size(-1)
    counts = targets.ne(ignore_index)
    ids = torch.where(counts, targets, 0)
    if ids.lt(0).any() or ids.ge(n).any():
        raise ValueError(f"targets must be token ids below {n} or {ignore_index}, got {ids.min()} to {ids.max()}")
    x = logits.float() if logits.element_size() < 4 else logits
    if not counts.any():
        return (x * 0).sum()
    return F.cross_entropy(x.reshape(-1, n), targets.reshape(-1), ignore_index=ignore_index)


def perplexity(losses, counts):
    if losses.shape != counts.shape or int(counts.sum()) == 0:
        raise ValueError(f"counts {counts.tolist()} do not fit losses of shape {list(losses.shape)}")
    return torch.exp((losses * counts).sum() / counts.sum())


def get_batch(tokens, batch, seq_len, generator, device=None):
    if len(tokens) <= seq_len:
        raise ValueError(f"tokens: {len(tokens)} are not enough for seq_len {seq_len} and one target")
    begin = torch.randint(len(tokens) - seq_len, (batch,), generator=generator).tolist()

    def rows(shift):
        cut = [np.array(tokens[b + shift : b + shift + seq_len], dtype=np.int64) for b in begin]
        return torch.from_numpy(np.stack(cut)).to(device)

    return rows(0), rows(1)


def pack_documents(documents, seq_len, separator_id):
    if seq_len < 1:
        raise ValueError(f"seq_len must be 1 or more, got {seq_len}")
    stream = []
    for document in documents:
        if len(document) > 0:
            stream.extend(document)
            stream.append(separator_id)
    x, y = stream[:-1], stream[1:]
    short = -len(x) % seq_len
    x, y = x + short * [separator_id], y + short * [-100]
    return tuple(torch.tensor(z, dtype=torch.int64).reshape(-1, seq_len) for z in (x, y))


class AdamW(Optimizer):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        if min(lr, eps, weight_decay) < 0:
            raise ValueError(f"lr {lr}, eps {eps} and weight_decay {weight_decay} must not be negative")
        if not (0 <= betas[0] < 1 and 0 <= betas[1] < 1):
            raise ValueError(f"betas must be in [0, 1), got {betas}")
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.update(p, p.grad, self.state[p], group["lr"], group["betas"], group["eps"], group["weight_decay"])

    def update(self, p, g, state, lr, betas, eps, weight_decay):
        if len(state) == 0:
            state["step"] = 0
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
        state["step"] = t = int(state["step"]) + 1
        m, v = state["exp_avg"], state["exp_avg_sq"]
        m.lerp_(g, 1 - betas[0])
        v.lerp_(g * g, 1 - betas[1])
        p -= lr * weight_decay * p
        p -= lr * (m / (1 - betas[0] ** t)) / ((v / (1 - betas[1] ** t)).sqrt() + eps)


def parameter_groups(model, weight_decay):
    trained = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]


def lr_at(step, max_lr, min_lr, warmup_steps, total_steps):
    if step < 0:
        raise ValueError(f"step is {step}")
    if warmup_steps > total_steps:
        raise ValueError(f"warmup_steps {warmup_steps} > total_steps {total_steps}")
    if min_lr > max_lr:
        raise ValueError(f"min_lr {min_lr} > max_lr {max_lr}")
    if step >= total_steps:
        return float(min_lr)
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1) * max_lr
    x = (step - warmup_steps) / (total_steps - warmup_steps)
    return min_lr + 0.5 * (max_lr - min_lr) * (1 + math.cos(x * math.pi))


def clip_grad_norm(parameters, max_norm):
    if max_norm <= 0:
        raise ValueError(f"max_norm must be positive, got {max_norm}")
    parameters = [p for p in parameters if p.grad is not None]
    if any(p.grad.element_size() < 4 for p in parameters):
        norm = torch.cat([p.grad.float().flatten() for p in parameters]).norm()
        for p in parameters:
            p.grad.mul_((max_norm / (norm + 1e-6)).clamp(max=1))
        return norm
    return torch.nn.utils.clip_grad_norm_(parameters, max_norm)


def train_step(model, optimizer, micro_batches, lr, max_norm=1.0, autocast=False):
    sizes = [int(y.ne(-100).sum()) for _, y in micro_batches]
    everything = sum(sizes)
    if everything == 0:
        raise ValueError("micro_batches hold no target")
    model.train()
    optimizer.zero_grad()
    losses = []
    for (x, y), size in zip(micro_batches, sizes):
        with torch.autocast(x.device.type, torch.bfloat16, enabled=autocast):
            logits = model(x)
        loss = cross_entropy(logits, y) * size / everything
        loss.backward()
        losses.append(loss.item())
    norm = float(clip_grad_norm(model.parameters(), max_norm))
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    return sum(losses), norm


@torch.no_grad()
def evaluate(model, batches):
    modes = {m: m.training for m in model.modules()}
    model.eval()
    parts = [(cross_entropy(model(x), y).item(), int(y.ne(-100).sum())) for x, y in batches]
    for m, mode in modes.items():
        m.training = mode
    if sum(n for _, n in parts) == 0:
        raise ValueError("batches hold no target")
    return sum(loss * n for loss, n in parts) / sum(n for _, n in parts)


def save_checkpoint(path, model, optimizer, step, generator):
    state = dict(model=model.state_dict(), optimizer=optimizer.state_dict(), step=step)
    state.update(generator=generator.get_state(), torch_generator=torch.get_rng_state())
    torch.save(state, f"{path}.tmp")
    os.replace(f"{path}.tmp", path)


def load_checkpoint(path, model, optimizer, generator):
    state = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    generator.set_state(state["generator"])
    torch.set_rng_state(state["torch_generator"])
    return state["step"]


def train(model, train_tokens, val_tokens, config, checkpoint=None, on_step=None):
    c, device = config, next(model.parameters()).device
    optimizer = AdamW(parameter_groups(model, c.weight_decay), c.max_lr, c.betas, c.eps)
    generator = torch.Generator().manual_seed(c.seed)
    step = load_checkpoint(checkpoint, model, optimizer, generator) if checkpoint and os.path.exists(checkpoint) else 0
    records, stop = [], False
    while step < c.total_steps and not stop:
        lr = lr_at(step, c.max_lr, c.min_lr, c.warmup_steps, c.total_steps)
        micro = [get_batch(train_tokens, c.batch, c.seq_len, generator, device) for _ in range(c.accumulation)]
        loss, norm = train_step(model, optimizer, micro, lr, c.max_norm, c.autocast)
        records.append(dict(step=step, loss=loss, lr=lr, grad_norm=norm))
        step += 1
        if step % c.eval_every == 0 or step == c.total_steps:
            g = torch.Generator().manual_seed(c.seed)
            val = [get_batch(val_tokens, c.batch, c.seq_len, g, device) for _ in range(c.eval_batches)]
            records[-1]["val_loss"] = evaluate(model, val)
        stop = bool(on_step(records[-1])) if on_step else False
        if checkpoint and (stop or step % c.save_every == 0 or step == c.total_steps):
            save_checkpoint(checkpoint, model, optimizer, step, generator)
    return records
