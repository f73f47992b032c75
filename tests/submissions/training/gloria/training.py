"""Gloria, week 5"""

import math
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class TrainConfig:
    total_steps: int
    batch: int
    seq_len: int
    max_lr: float
    min_lr: float
    warmup_steps: int
    accumulation: int = 1
    betas: tuple = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.1
    max_norm: float = 1.0
    eval_every: int = 100
    eval_batches: int = 8
    save_every: int = 100
    autocast: bool = False
    seed: int = 0


def widened(x):
    if x.dtype in (torch.float16, torch.bfloat16):
        return x.float()
    return x


def cross_entropy(logits, targets, ignore_index=-100):
    """Add up log(sum(exp)) - logit, one target after the other."""
    vocab_size = logits.shape[-1]
    if tuple(targets.shape) != tuple(logits.shape[:-1]):
        raise ValueError(f"targets {tuple(targets.shape)} and logits {tuple(logits.shape)} do not fit")
    rows = widened(logits).reshape(-1, vocab_size)
    total = rows.new_zeros(())
    n_targets = 0
    for row, target in zip(rows, targets.reshape(-1).tolist(), strict=True):
        if target == ignore_index:
            continue
        if target < 0 or target >= vocab_size:
            raise ValueError(f"targets has the id {target}, vocab_size is {vocab_size}")
        peak = row.max().detach()
        total = total + peak + torch.log(torch.exp(row - peak).sum()) - row[target]
        n_targets += 1
    if n_targets == 0:
        return (rows * 0).sum()
    return total / n_targets


def perplexity(losses, counts):
    if losses.shape != counts.shape:
        raise ValueError(f"counts has shape {tuple(counts.shape)}, losses has {tuple(losses.shape)}")
    total = losses.new_zeros(())
    n_targets = 0
    for loss, count in zip(losses, counts.tolist(), strict=True):
        total = total + loss * count
        n_targets += count
    if n_targets == 0:
        raise ValueError(f"counts are all zero: {counts.tolist()}")
    return torch.exp(total / n_targets)


def get_batch(tokens, batch, seq_len, generator, device=None):
    n_starts = len(tokens) - seq_len
    if n_starts < 1:
        raise ValueError(f"{len(tokens)} tokens are too few for seq_len = {seq_len}")
    token_ids = torch.zeros(batch, seq_len, dtype=torch.int64)
    targets = torch.zeros(batch, seq_len, dtype=torch.int64)
    starts = torch.randint(0, n_starts, (batch,), generator=generator)
    for row in range(batch):
        start = int(starts[row])
        for column in range(seq_len):
            token_ids[row, column] = int(tokens[start + column])
            targets[row, column] = int(tokens[start + column + 1])
    return token_ids.to(device), targets.to(device)


def pack_documents(documents, seq_len, separator_id):
    """Fill a row of inputs and a row of targets token by token; start new ones when they are full."""
    if seq_len < 1:
        raise ValueError(f"seq_len = {seq_len} is below 1")
    rows, row_targets = [], []
    previous = None
    for document in documents:
        if len(document) == 0:
            continue
        for token in [*list(document), separator_id]:
            if previous is not None:
                if not rows or len(rows[-1]) == seq_len:
                    rows.append([])
                    row_targets.append([])
                rows[-1].append(previous)
                row_targets[-1].append(token)
            previous = token
    if not rows:
        return torch.zeros(0, seq_len, dtype=torch.int64), torch.zeros(0, seq_len, dtype=torch.int64)
    while len(rows[-1]) < seq_len:
        rows[-1].append(separator_id)
        row_targets[-1].append(-100)
    return torch.tensor(rows), torch.tensor(row_targets)


class AdamW(torch.optim.Optimizer):
    def __init__(self, params, lr=0.001, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
        if lr < 0:
            raise ValueError(f"lr is negative: {lr}")
        if eps < 0:
            raise ValueError(f"eps is negative: {eps}")
        if weight_decay < 0:
            raise ValueError(f"weight_decay is negative: {weight_decay}")
        for beta in betas:
            if beta < 0 or beta >= 1:
                raise ValueError(f"betas must be in [0, 1): {betas}")
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            lr, eps, decay = group["lr"], group["eps"], group["weight_decay"]
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if "step" not in state:
                    state["step"] = 0
                    state["exp_avg"] = torch.zeros_like(p)
                    state["exp_avg_sq"] = torch.zeros_like(p)
                t = int(state["step"]) + 1
                m = beta1 * state["exp_avg"] + (1 - beta1) * p.grad
                v = beta2 * state["exp_avg_sq"] + (1 - beta2) * p.grad * p.grad
                state["step"], state["exp_avg"], state["exp_avg_sq"] = t, m, v
                m_hat = m / (1 - beta1**t)
                v_hat = v / (1 - beta2**t)
                new = p - lr * decay * p
                new = new - lr * m_hat / (torch.sqrt(v_hat) + eps)
                p.copy_(new)


def parameter_groups(model, weight_decay):
    decays, rests = [], []
    for p in model.parameters():
        if not p.requires_grad:
            continue
        if len(p.shape) >= 2:
            decays.append(p)
        else:
            rests.append(p)
    return [{"params": decays, "weight_decay": weight_decay}, {"params": rests, "weight_decay": 0.0}]


def lr_at(step, max_lr, min_lr, warmup_steps, total_steps):
    if step < 0:
        raise ValueError(f"step = {step} is negative")
    if warmup_steps > total_steps:
        raise ValueError(f"warmup_steps = {warmup_steps} is more than total_steps = {total_steps}")
    if min_lr > max_lr:
        raise ValueError(f"min_lr = {min_lr} is more than max_lr = {max_lr}")
    if step >= total_steps:
        lr = min_lr
    elif step < warmup_steps:
        lr = max_lr / (warmup_steps + 1) * (step + 1)
    else:
        angle = math.pi * (step - warmup_steps) / (total_steps - warmup_steps)
        share = 0.5 + 0.5 * math.cos(angle
        lr = share * max_lr + (1 - share) * min_lr
    return float(lr)


def clip_grad_norm(parameters, max_norm):
    if not max_norm > 0:
        raise ValueError(f"max_norm = {max_norm} must be more than 0")
    parameters = list(parameters)
    total = torch.zeros(())
    for p in parameters:
        if p.grad is not None:
            total = total + widened(p.grad).pow(2).sum()
    norm = torch.sqrt(total)
    factor = max_norm / (norm + 1e-6)
    if factor < 1:
        for p in parameters:
            if p.grad is not None:
                p.grad *= factor
    return norm


def n_targets_of(targets):
    count = 0
    for target in targets.reshape(-1).tolist():
        if target != -100:
            count += 1
    return count


def train_step(model, optimizer, micro_batches, lr, max_norm=1.0, autocast=False):
    n_targets = 0
    for _, targets in micro_batches:
        n_targets += n_targets_of(targets)
    if n_targets == 0:
        raise ValueError("there is no target in micro_batches")

    model.train()
    for group in optimizer.param_groups:
        group["lr"] = lr
        for p in group["params"]:
            p.grad = None

    total = 0.0
    for token_ids, targets in micro_batches:
        if n_targets_of(targets) == 0:
            continue
        if autocast:
            with torch.autocast(token_ids.device.type, torch.bfloat16):
                logits = model(token_ids)
        else:
            logits = model(token_ids)
        loss = cross_entropy(logits, targets) * n_targets_of(targets) / n_targets
        loss.backward()
        total += loss.item()
    norm = clip_grad_norm(model.parameters(), max_norm)
    optimizer.step()
    return total, float(norm)


def evaluate(model, batches):
    before = {}
    for name, module in model.named_modules():
        before[name] = module.training
    model.eval()
    total, n_targets = 0.0, 0
    for token_ids, targets in batches:
        with torch.no_grad():
            loss = cross_entropy(model(token_ids), targets)
        total += float(loss) * n_targets_of(targets)
        n_targets += n_targets_of(targets)
    for name, module in model.named_modules():
        module.training = before[name]
    if n_targets == 0:
        raise ValueError("there is no target in batches")
    return total / n_targets


def save_checkpoint(path, model, optimizer, step, generator):
    path = Path(path)
    content = {}
    content["model"] = model.state_dict()
    content["optimizer"] = optimizer.state_dict()
    content["step"] = step
    content["generator"] = generator.get_state()
    content["torch_generator"] = torch.get_rng_state()
    folder = tempfile.mkdtemp(dir=path.parent)
    try:
        torch.save(content, f"{folder}/new")
        Path(f"{folder}/new").replace(path)
    finally:
        shutil.rmtree(folder)


def load_checkpoint(path, model, optimizer, generator):
    content = torch.load(path, weights_only=True, map_location="cpu")
    model.load_state_dict(content["model"])
    optimizer.load_state_dict(content["optimizer"])
    generator.set_state(content["generator"])
    torch.set_rng_state(content["torch_generator"])
    return content["step"]


def train(model, train_tokens, val_tokens, config, checkpoint=None, on_step=None):
    device = None
    for p in model.parameters():
        device = p.device
    generator = torch.Generator()
    generator.manual_seed(config.seed)
    optimizer = AdamW(
        parameter_groups(model, config.weight_decay), lr=config.max_lr, betas=config.betas, eps=config.eps
    )
    step = 0
    if checkpoint is not None and Path(checkpoint).is_file():
        step = load_checkpoint(checkpoint, model, optimizer, generator)

    records = []
    while step < config.total_steps:
        lr = lr_at(step, config.max_lr, config.min_lr, config.warmup_steps, config.total_steps)
        micro_batches = []
        for _ in range(config.accumulation):
            micro_batches.append(get_batch(train_tokens, config.batch, config.seq_len, generator, device))
        loss, norm = train_step(model, optimizer, micro_batches, lr, config.max_norm, config.autocast)
        record = {"step": step, "loss": loss, "lr": lr, "grad_norm": norm}
        step += 1

        if step % config.eval_every == 0 or step == config.total_steps:
            val_generator = torch.Generator()
            val_generator.manual_seed(config.seed)
            batches = []
            for _ in range(config.eval_batches):
                batches.append(get_batch(val_tokens, config.batch, config.seq_len, val_generator, device))
            record["val_loss"] = evaluate(model, batches)
        records.append(record)

        stop = False
        if on_step is not None:
            stop = bool(on_step(record))
        if checkpoint is not None and (stop or step % config.save_every == 0 or step == config.total_steps):
            save_checkpoint(checkpoint, model, optimizer, step, generator)
        if stop:
            return records
    return records
