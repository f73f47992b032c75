"""Module 5, training: how a model learns from text.

Everything is built from tensor arithmetic and torch.autograd. The losses of torch.nn, logsumexp, the optimizers and
schedulers of torch.optim and torch.nn.utils.clip_grad_norm_ are what you are building, so they are not allowed here;
torch.optim.Optimizer, which only keeps the books, is.

Steps are counted from 0. A target is the token that follows; the target -100 means "nothing to predict here" and
counts in no sum and no mean. A model is any nn.Module that turns token ids (batch, seq_len) into logits
(batch, seq_len, vocab_size). Nothing random happens but through the torch.Generator that a function is given.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.optim import Optimizer

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
    """Mean of -log softmax(logits)[target] over the targets that are not ignore_index.

    Args:
        logits: (..., vocab_size), any float dtype and any size: 10,000 overflows nothing. An entry may be -inf.
        targets: (...), int64, the leading axes of logits.
        ignore_index: the target that is left out, of the sum and of the count. It may be a valid id, too.
    Returns:
        A scalar on the device of logits: float32 for float16 and bfloat16 logits, else the dtype of logits. Zero,
        with a gradient of zero, when every target is left out.
    Raises:
        ValueError: targets has not the leading axes of logits, or one is neither ignore_index nor a token id.
    Source: Goodfellow et al. 2016, Deep Learning, section 6.2.2. Task 5.1.
    """
    raise NotImplementedError("Task 5.1: cross_entropy")


def perplexity(losses: Float[Tensor, " n"], counts: Int[Tensor, " n"]) -> Float[Tensor, ""]:
    """exp of the mean loss of a target: between how many tokens the model hesitates.

    Args:
        losses: (n,), the mean loss of each of n batches, in nats.
        counts: (n,), how many targets each batch had. A batch weighs as much as it has targets.
    Returns:
        A scalar, dtype and device of losses.
    Raises:
        ValueError: counts has another shape than losses, or sums to zero.
    Source: Jurafsky and Martin, Speech and Language Processing, section 3.3. Task 5.2.
    """
    raise NotImplementedError("Task 5.2: perplexity")


def get_batch(
    tokens: Any, batch: int, seq_len: int, generator: torch.Generator, device: torch.device | str | None = None
) -> Batch:
    """Random windows of a long text, and the same windows one token later.

    The windows start at torch.randint(len(tokens) - seq_len, (batch,), generator=generator): one draw, and every start
    that leaves room for the last target. In [5, 6, 7, 8] with seq_len 2 the start 1 gives [6, 7] and [7, 8].

    Args:
        tokens: (n_tokens,), any integer dtype: an array, a memory-mapped file larger than memory or a tensor. Only
            the windows are read.
        batch, seq_len: number of windows, and their length.
        generator: draws the starts; nothing else is random.
        device: where the result goes, the CPU by default.
    Returns:
        token_ids and targets, (batch, seq_len) each, int64; writing into one does not change the other.
    Raises:
        ValueError: tokens has fewer than seq_len + 1 entries.
    Source: Radford et al. 2018, section 4.1. Task 5.3.
    """
    raise NotImplementedError("Task 5.3: get_batch")


def pack_documents(documents: Iterable[Sequence[int]], seq_len: int, separator_id: int) -> Batch:
    """Documents one after the other, each with a separator behind it, cut into rows of one length.

    Every token but the first is a target once: the targets of a row are the row one token later, so the last is the
    first token of the next row. The last row is filled up with separator_id, and its targets with -100.
    [[1, 2], [3]] with seq_len 3 and separator 0 is the stream 1 2 0 3 0: token_ids [[1, 2, 0], [3, 0, 0]] and targets
    [[2, 0, 3], [0, -100, -100]]; the 0 at the end of the stream has nothing to predict.

    Args:
        documents: token ids of each document, in order; read once. An empty one is left out, separator and all.
        seq_len: length of a row.
        separator_id: the end-of-text token.
    Returns:
        token_ids and targets, (rows, seq_len) each, int64; rows is as small as possible, 0 without a document.
    Raises:
        ValueError: seq_len is below 1.
    Source: Brown et al. 2020, appendix B. Task 5.4.
    """
    raise NotImplementedError("Task 5.4: pack_documents")


class AdamW(Optimizer):
    """Adam with weight decay that does not pass through the gradient.

    With g the gradient, p the parameter and t the number of its steps, this one included,
        m = beta1 m + (1 - beta1) g             v = beta2 v + (1 - beta2) g²
        p = p - lr weight_decay p               p = p - lr (m / (1 - beta1ᵗ)) / (sqrt(v / (1 - beta2ᵗ)) + eps)
    where m and v begin at zero. lr, betas, eps and weight_decay are read from the parameter's group at every step, so
    that a schedule may change them. `state[p]` holds `step` (the number t), `exp_avg` (m) and `exp_avg_sq` (v), of the
    shape and dtype of p; state_dict and load_state_dict are inherited, and exchange states with torch.optim.AdamW.
    Source: Loshchilov and Hutter 2019, algorithm 2. Task 5.5.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        """Hand the groups and their defaults to torch.optim.Optimizer.

        Raises:
            ValueError: lr, eps or weight_decay is negative, or one of betas is not in [0, 1).
        """
        raise NotImplementedError("Task 5.5: AdamW.__init__")

    def step(self) -> None:
        """Change every parameter that has a gradient, in place; a gradient is not changed.

        A parameter whose gradient is None is left as it is: no decay, no step counted.
        """
        raise NotImplementedError("Task 5.5: AdamW.step")


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The parameters in two groups for an optimizer: what has two or more axes decays, biases and norms do not.

    Returns:
        [{"params": [...], "weight_decay": weight_decay}, {"params": [...], "weight_decay": 0.0}]: first the parameters
        with two or more axes, then the others, each in the order of model.parameters(); a list may be empty. A shared
        parameter is there once. Frozen parameters (requires_grad False) are in neither.
    Source: Radford et al. 2018, section 4.1. Task 5.6.
    """
    raise NotImplementedError("Task 5.6: parameter_groups")


def lr_at(step: int, max_lr: float, min_lr: float, warmup_steps: int, total_steps: int) -> float:
    """The learning rate of a step: a line up to max_lr, then half a cosine down to min_lr.

    step < warmup_steps:  max_lr (step + 1) / (warmup_steps + 1)
    step < total_steps:   min_lr + (max_lr - min_lr) (1 + cos(π x)) / 2
                          with x = (step - warmup_steps) / (total_steps - warmup_steps)
    from there on:        min_lr
    With warmup_steps 3, total_steps 7, max_lr 4 and min_lr 0 that is 1, 2, 3, 4, 3.41, 2, 0.59, 0, ...: the first
    step is not wasted on a rate of 0, and max_lr comes at step warmup_steps, once. The result is a Python float.

    Raises:
        ValueError: step is negative, warmup_steps is above total_steps, or min_lr above max_lr.
    Source: Loshchilov and Hutter 2017, eq. 5; the warm-up of Goyal et al. 2017, section 2.2. Task 5.7.
    """
    raise NotImplementedError("Task 5.7: lr_at")


def clip_grad_norm(parameters: Iterable[nn.Parameter], max_norm: float) -> Float[Tensor, ""]:
    """Scale all gradients by min(1, max_norm / (norm + 1e-6)), with norm the length of all of them as one vector.

    Args:
        parameters: read once, so also a generator such as model.parameters(). Their gradients are changed in place;
            those without one are left out.
        max_norm: the longest that the vector may be. A shorter one is left as it is, bit for bit.
    Returns:
        The norm before the scaling: a scalar, float32 or wider. The squares of float16 gradients overflow nothing.
        Zero when there is no gradient.
    Raises:
        ValueError: max_norm is not above zero.
    Source: Pascanu et al. 2013, algorithm 1; the 1e-6 is torch's. Task 5.8.
    """
    raise NotImplementedError("Task 5.8: clip_grad_norm")


def train_step(
    model: nn.Module,
    optimizer: Optimizer,
    micro_batches: Sequence[Batch],
    lr: float,
    max_norm: float = 1.0,
    autocast: bool = False,
) -> tuple[float, float]:
    """One step of the optimizer on several micro-batches, as if they were one batch.

    The loss is the mean over all targets of all micro-batches: one with twice the targets counts twice. Its gradient
    is added up micro-batch by micro-batch, so that memory for one is enough; what was in .grad before counts nothing.
    Then the gradients are clipped, lr is set in every group, and the optimizer takes its step. The model is put into
    train mode.

    Args:
        micro_batches: their sizes may differ; -100 is no target.
        lr: of this step.
        max_norm: for clip_grad_norm, of all gradients together.
        autocast: run the model, not the loss, in torch.autocast with bfloat16; parameters and state stay float32.
    Returns:
        The loss and the norm of the gradient before clipping, as Python floats.
    Raises:
        ValueError: micro_batches have no target among them.
    Source: Ott et al. 2018, section 3.3; Micikevicius et al. 2018. Task 5.9.
    """
    raise NotImplementedError("Task 5.9: train_step")


def evaluate(model: nn.Module, batches: Iterable[Batch]) -> float:
    """The mean loss over all targets of all batches, in eval mode and without building a graph.

    Afterwards every module in the model is in the mode, train or eval, that it was in before.

    Args:
        batches: read once; their sizes may differ, and -100 is no target.
    Returns:
        A Python float, in nats. A batch weighs as much as it has targets.
    Raises:
        ValueError: batches have no target among them.
    Task 5.10.
    """
    raise NotImplementedError("Task 5.10: evaluate")


def save_checkpoint(
    path: str | Path, model: nn.Module, optimizer: Optimizer, step: int, generator: torch.Generator
) -> None:
    """Write all that training needs to go on as if it had never stopped, with torch.save.

    The file holds a dict with these keys only: `model` and `optimizer` (their state dicts), `step`, `generator` (the
    state of `generator`) and `torch_generator` (torch.get_rng_state(), which nn.Dropout draws from). It is written
    under another name in the same folder and then renamed: at any moment `path` is a whole checkpoint, the earlier one
    or the new.

    Args:
        path: the file; its folder exists.
        step: number of steps taken.
        generator: the one that draws the batches.
    Task 5.11.
    """
    raise NotImplementedError("Task 5.11: save_checkpoint")


def load_checkpoint(path: str | Path, model: nn.Module, optimizer: Optimizer, generator: torch.Generator) -> int:
    """Put the model, the optimizer, the generator and torch's own generator back into the state of a checkpoint.

    The file may come from a stranger, so it is read with weights_only=True, which refuses all but tensors and plain
    values; and from another machine, so it is read onto the CPU. Everything stays on the device it is on.

    Returns:
        The number of steps taken.
    Task 5.12.
    """
    raise NotImplementedError("Task 5.12: load_checkpoint")


def train(
    model: nn.Module,
    train_tokens: Any,
    val_tokens: Any,
    config: TrainConfig,
    checkpoint: str | Path | None = None,
    on_step: Callable[[dict[str, float]], Any] | None = None,
) -> list[dict[str, float]]:
    """Train a model: batches, schedule, step, validation and checkpoint, until total_steps or until told to stop.

    A torch.Generator seeded with config.seed draws the `accumulation` micro-batches of each step from train_tokens, on
    the device of the model. The optimizer is an AdamW on parameter_groups. After every eval_every steps and after the
    last, the model is evaluated on eval_batches batches of val_tokens, drawn by a new generator seeded with
    config.seed: the same windows each time, so that the numbers can be compared.

    Args:
        checkpoint: a file. If it exists, training goes on from there, bit for bit as if it had not stopped. It is
            written after every save_every steps and at the end, also when told to stop.
        on_step: called with the record of each complete step. If it returns something true, training stops there.
    Returns:
        The records of the steps taken now: dicts with step, loss, lr and grad_norm, and val_loss after an evaluation.
    Task 5.13.
    """
    raise NotImplementedError("Task 5.13: train")
