"""Module 5, training, on torch's own losses, optimizer and clipping: it stands in for your file in later weeks."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

IGNORE_INDEX = -100
Batch = tuple[Int[Tensor, "batch seq_len"], Int[Tensor, "batch seq_len"]]  # token_ids and targets


@dataclass(frozen=True)
class TrainConfig:
    """What one training run is made of; see train."""

    total_steps: int
    batch: int  # windows in a micro-batch
    seq_len: int
    max_lr: float
    min_lr: float
    warmup_steps: int
    accumulation: int = 1  # micro-batches in a step
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.1
    max_norm: float = 1.0
    eval_every: int = 100  # steps
    eval_batches: int = 8
    save_every: int = 100  # steps
    autocast: bool = False
    seed: int = 0


def cross_entropy(
    logits: Float[Tensor, "... vocab_size"], targets: Int[Tensor, "..."], ignore_index: int = -100
) -> Float[Tensor, ""]:
    """Mean of -log softmax(logits)[target] over the targets that are not ignore_index."""
    if targets.shape != logits.shape[:-1]:
        raise ValueError(f"targets of shape {tuple(targets.shape)} do not fit logits {tuple(logits.shape)}")
    kept = targets.ne(ignore_index)
    if not kept.any():
        return logits.float().sum() * 0 if logits.dtype.itemsize < 4 else logits.sum() * 0
    low, high = targets[kept].aminmax()
    if low < 0 or high >= logits.shape[-1]:
        raise ValueError(f"targets from {low} to {high} with a vocabulary of {logits.shape[-1]}")
    wide = logits.float() if logits.dtype.itemsize < 4 else logits
    return F.cross_entropy(wide[kept], targets[kept])


def perplexity(losses: Float[Tensor, " n"], counts: Int[Tensor, " n"]) -> Float[Tensor, ""]:
    """exp of the mean loss of a target."""
    if counts.shape != losses.shape or not counts.any():
        raise ValueError(f"counts {counts.tolist()} do not weigh {tuple(losses.shape)} losses")
    return torch.exp(torch.dot(losses, counts.to(losses.dtype) / counts.sum()))


def get_batch(
    tokens: Any, batch: int, seq_len: int, generator: torch.Generator, device: torch.device | str | None = None
) -> Batch:
    """Random windows of a long text, and the same windows one token later."""
    last = len(tokens) - seq_len - 1
    if last < 0:
        raise ValueError(f"tokens are {len(tokens)}, too few for seq_len {seq_len}")
    starts = torch.randint(last + 1, (batch,), generator=generator).tolist()
    x = torch.tensor([tokens[at : at + seq_len].tolist() for at in starts], device=device)
    y = torch.tensor([tokens[at + 1 : at + 1 + seq_len].tolist() for at in starts], device=device)
    return x, y


def pack_documents(documents: Iterable[Sequence[int]], seq_len: int, separator_id: int) -> Batch:
    """Documents one after the other, each with a separator behind it, cut into rows of one length."""
    if seq_len < 1:
        raise ValueError(f"seq_len is {seq_len}, must be at least 1")
    stream = list(chain.from_iterable([*document, separator_id] for document in documents if len(document)))
    pairs = list(pairwise(stream))
    pairs += [(separator_id, IGNORE_INDEX)] * (-len(pairs) % seq_len)
    both = torch.tensor(pairs, dtype=torch.int64).reshape(-1, seq_len, 2)
    return both[..., 0].contiguous(), both[..., 1].contiguous()


class AdamW(torch.optim.AdamW):
    """Adam with weight decay that does not pass through the gradient."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        """Let torch keep the books and take the steps."""
        wrong = [f"{n} {v}" for n, v in (("lr", lr), ("eps", eps), ("weight_decay", weight_decay)) if v < 0]
        wrong += [f"betas {betas}"] * (not all(0 <= beta < 1 for beta in betas))
        if wrong:
            raise ValueError(f"out of range: {', '.join(wrong)}")
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The parameters in two groups for an optimizer: what has two or more axes decays, biases and norms do not."""
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for parameter in filter(lambda parameter: parameter.requires_grad, model.parameters()):
        (decayed if parameter.dim() > 1 else others).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def lr_at(step: int, max_lr: float, min_lr: float, warmup_steps: int, total_steps: int) -> float:
    """The learning rate of a step: a line up to max_lr, then half a cosine down to min_lr."""
    if not (step >= 0 and warmup_steps <= total_steps and min_lr <= max_lr):
        raise ValueError(f"step {step}, warmup_steps {warmup_steps} of {total_steps}, min_lr {min_lr}, max_lr {max_lr}")
    if step >= total_steps:
        return float(min_lr)
    if step < warmup_steps:
        return max_lr * ((step + 1) / (warmup_steps + 1))
    left = (total_steps - step) / (total_steps - warmup_steps)
    return min_lr + (max_lr - min_lr) * math.sin(left * math.pi / 2) ** 2


def clip_grad_norm(parameters: Iterable[nn.Parameter], max_norm: float) -> Float[Tensor, ""]:
    """Scale all gradients by min(1, max_norm / (norm + 1e-6)), with norm the length of all of them as one vector."""
    if max_norm <= 0:
        raise ValueError(f"max_norm is {max_norm}, must be above zero")
    kept = [parameter for parameter in parameters if parameter.grad is not None]
    wide = [p.grad.float() if p.grad.dtype.itemsize < 4 else p.grad for p in kept]
    norm = torch.nn.utils.get_total_norm(wide)
    torch.nn.utils.clip_grads_with_norm_(kept, max_norm, norm)
    return norm


def train_step(
    model: nn.Module,
    optimizer: Optimizer,
    micro_batches: Sequence[Batch],
    lr: float,
    max_norm: float = 1.0,
    autocast: bool = False,
) -> tuple[float, float]:
    """One step of the optimizer on several micro-batches, as if they were one batch."""
    count = sum(targets.ne(IGNORE_INDEX).sum().item() for _, targets in micro_batches)
    if not count:
        raise ValueError("micro_batches are without a target")
    model.train()
    optimizer.zero_grad(set_to_none=True)
    losses = []
    for token_ids, targets in micro_batches:
        with torch.autocast(token_ids.device.type, torch.bfloat16, enabled=autocast):
            logits = model(token_ids)
        if autocast:
            logits = logits.float()
        loss = F.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="sum") / count
        loss.backward()
        losses.append(loss.detach())
    norm = clip_grad_norm(model.parameters(), max_norm)
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    return sum(losses).item(), norm.item()


@torch.no_grad()
def evaluate(model: nn.Module, batches: Iterable[Batch]) -> float:
    """The mean loss over all targets of all batches, in eval mode and without building a graph."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    sums, counts = [0.0], [0]
    for token_ids, targets in batches:
        sums.append(F.cross_entropy(model(token_ids).flatten(0, -2), targets.flatten(), reduction="sum").item())
        counts.append(targets.ne(IGNORE_INDEX).sum().item())
    for module in training:
        module.training = True
    if not any(counts):
        raise ValueError("batches are without a target")
    return sum(sums) / sum(counts)


def save_checkpoint(
    path: str | Path, model: nn.Module, optimizer: Optimizer, step: int, generator: torch.Generator
) -> None:
    """Write all that training needs to go on as if it had never stopped, with torch.save."""
    states = {"generator": generator.get_state(), "torch_generator": torch.get_rng_state()}
    new = Path(path).with_suffix(".new")
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step, **states}, new)
    new.replace(path)


def load_checkpoint(path: str | Path, model: nn.Module, optimizer: Optimizer, generator: torch.Generator) -> int:
    """Put the model, the optimizer, the generator and torch's own generator back into the state of a checkpoint."""
    found = torch.load(path, map_location="cpu", weights_only=True)
    torch.set_rng_state(found["torch_generator"])
    generator.set_state(found["generator"])
    optimizer.load_state_dict(found["optimizer"])
    model.load_state_dict(found["model"])
    return found["step"]


def train(
    model: nn.Module,
    train_tokens: Any,
    val_tokens: Any,
    config: TrainConfig,
    checkpoint: str | Path | None = None,
    on_step: Callable[[dict[str, float]], Any] | None = None,
) -> list[dict[str, float]]:
    """Train a model: batches, schedule, step, validation and checkpoint, until total_steps or until told to stop."""
    c = config
    groups = parameter_groups(model, c.weight_decay)
    optimizer = AdamW(groups, lr=c.max_lr, betas=c.betas, eps=c.eps)
    generator = torch.Generator().manual_seed(c.seed)
    device = groups[0]["params"][0].device if groups[0]["params"] else groups[1]["params"][0].device
    done = load_checkpoint(checkpoint, model, optimizer, generator) if checkpoint and Path(checkpoint).exists() else 0
    records, stop = [], False
    while done < c.total_steps and not stop:
        lr = lr_at(done, c.max_lr, c.min_lr, c.warmup_steps, c.total_steps)
        micro = [get_batch(train_tokens, c.batch, c.seq_len, generator, device) for _ in range(c.accumulation)]
        loss, norm = train_step(model, optimizer, micro, lr, c.max_norm, c.autocast)
        record = {"step": done, "loss": loss, "lr": lr, "grad_norm": norm}
        done += 1
        if done % c.eval_every == 0 or done == c.total_steps:
            same = torch.Generator().manual_seed(c.seed)
            val = [get_batch(val_tokens, c.batch, c.seq_len, same, device) for _ in range(c.eval_batches)]
            record["val_loss"] = evaluate(model, val)
        records.append(record)
        stop = bool(on_step and on_step(record))
        if checkpoint and (stop or done % c.save_every == 0 or done == c.total_steps):
            save_checkpoint(checkpoint, model, optimizer, done, generator)
    return records
