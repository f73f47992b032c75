"""Module 5, training. Boris: everything but the loop"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.optim import Optimizer

Batch = tuple[Int[Tensor, "batch seq_len"], Int[Tensor, "batch seq_len"]]


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
    top = x.max(-1, keepdim=True).values.detach()
    log_sum = torch.log(torch.exp(x - top).sum(-1)) + top.squeeze(-1)
    loss = log_sum - torch.take_along_dim(x, ids.unsqueeze(-1), -1).squeeze(-1)
    return torch.where(counts, loss, 0.0).sum() / max(int(counts.sum()), 1)


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
    grads = [p.grad for p in parameters if p.grad is not None]
    square = sum(((g.float() if g.element_size() < 4 else g).square().sum() for g in grads), torch.zeros(()))
    norm = square.sqrt()
    if max_norm < norm + 1e-6:
        for g in grads:
            g.mul_(max_norm / (norm + 1e-6))
    return norm


def train_step(
    model: nn.Module,
    optimizer: Optimizer,
    micro_batches: Sequence[Batch],
    lr: float,
    max_norm: float = 1.0,
    autocast: bool = False,
) -> tuple[float, float]:
    raise NotImplementedError("Task 5.9: train_step")


def evaluate(model: nn.Module, batches: Iterable[Batch]) -> float:
    raise NotImplementedError("Task 5.10: evaluate")


def save_checkpoint(
    path: str | Path, model: nn.Module, optimizer: Optimizer, step: int, generator: torch.Generator
) -> None:
    raise NotImplementedError("Task 5.11: save_checkpoint")


def load_checkpoint(path: str | Path, model: nn.Module, optimizer: Optimizer, generator: torch.Generator) -> int:
    raise NotImplementedError("Task 5.12: load_checkpoint")


def train(
    model: nn.Module,
    train_tokens: Any,
    val_tokens: Any,
    config: TrainConfig,
    checkpoint: str | Path | None = None,
    on_step: Callable[[dict[str, float]], Any] | None = None,
) -> list[dict[str, float]]:
    raise NotImplementedError("Task 5.13: train")
