"""The graded checks of module 5. Models are tiny and stand in this file; optimizers are fed with fixed gradients.

A check returns losses, parameters and states, never a verdict on them. eps is large where an optimizer takes steps:
with a tiny one Adam turns the rounding of a gradient near zero into a step of full size.
"""

import contextlib
import mmap

import numpy as np
import torch
from torch import nn

from grader import graded, gradients


class Tiny(nn.Module):
    """Token ids to logits, with a note of how each forward pass was run."""

    def __init__(self, vocab_size=7, d_model=4):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.hidden = nn.Linear(d_model, 5)
        self.head = nn.Linear(5, vocab_size)
        self.seen = []

    def forward(self, token_ids):
        cast = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
        self.seen.append(f"modes {modes_of(self)}, gradients {torch.is_grad_enabled()}, autocast {cast}")
        return self.head(torch.tanh(self.hidden(self.embedding(token_ids))))


def modes_of(model):
    """A letter a module: t for train, e for eval."""
    return "".join("te"[not module.training] for module in model.modules())


def batch_of(rng, batch, seq_len, left_out=0, vocab_size=7):
    """token_ids and targets, the first `left_out` targets of every row -100."""
    targets = rng.integers(0, vocab_size, batch, seq_len)
    targets[:, :left_out] = -100
    return rng.integers(0, vocab_size, batch, seq_len), targets


def values(module):
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def states(optimizer):
    """The state of every parameter, None for one that has none yet."""
    found = [optimizer.state.get(p) for group in optimizer.param_groups for p in group["params"]]
    return [
        s and {"step": int(s["step"]), "exp_avg": s["exp_avg"].clone(), "exp_avg_sq": s["exp_avg_sq"].clone()}
        for s in found
    ]


def generator_of(rng):
    return torch.Generator().manual_seed(int(rng.integers(0, 1 << 30, 1)))


# cross_entropy


@graded(
    "cross_entropy", weight=4, rows=[{"shape": [2, 3], "vocab_size": 5}, {"shape": [4], "vocab_size": 6}], pins="values"
)
def check_cross_entropy_values(impl, rng, shape, vocab_size):
    """The loss is the mean of -log softmax(logits)[target] over the last axis, with any leading axes."""
    return impl.cross_entropy(rng.randn(*shape, vocab_size, scale=2.0), rng.integers(0, vocab_size, *shape))


@graded("cross_entropy", weight=3, rows=[{"lengths": [2, 5, 3], "vocab_size": 7}], pins="targets that are left out")
def check_cross_entropy_left_out(impl, rng, lengths, vocab_size):
    """A target of -100 counts neither in the sum nor in the number that it is divided by."""
    targets = rng.integers(0, vocab_size, len(lengths), max(lengths))
    targets[torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None]] = -100
    return impl.cross_entropy(rng.randn(*targets.shape, vocab_size, scale=2.0), targets)


@graded("cross_entropy", weight=1, rows=[{"ignore_index": 0}, {"ignore_index": -1}])
def check_cross_entropy_other_ignore_index(impl, rng, ignore_index):
    """ignore_index may be any number, also a valid token id."""
    targets = rng.integers(min(ignore_index, 0), 3, 4, 5)
    return impl.cross_entropy(rng.randn(4, 5, 3), targets, ignore_index=ignore_index)


@graded("cross_entropy", weight=3, rows=[{"n": 3, "size": 10_000, "spread": 3}, {"n": 2, "size": 45, "spread": 0}])
def check_cross_entropy_large_logits(impl, rng, n, size, spread):
    """Logits of ±10,000 overflow nothing, and a probability near zero has a finite loss."""
    high = rng.integers(size - spread, size + spread + 1, n, 5, dtype="float32")
    low = rng.integers(-size - spread, -size + spread + 1, n, 5, dtype="float32")
    both = torch.cat([torch.cat([high, high], dim=1), torch.cat([low, low], dim=1), torch.cat([high, low], dim=1)])
    return impl.cross_entropy(both, rng.integers(5, 10, 3 * n))


@graded("cross_entropy", weight=1, rows=[{"n": 4}], pins="logits of -inf")
def check_cross_entropy_minus_infinity(impl, rng, n):
    """A logit of -inf, as a filter leaves it, takes part with probability zero."""
    logits = rng.randn(n, 6)
    logits[:, 4:] = float("-inf")
    logits.requires_grad_()
    return gradients(impl.cross_entropy(logits, rng.integers(0, 4, n)), torch.ones(()), logits=logits)


@graded("cross_entropy", weight=2, rows=[{"batch": 3, "seq_len": 4, "left_out": 1}], pins="gradients")
def check_cross_entropy_gradient(impl, rng, batch, seq_len, left_out):
    """The gradient is (softmax - one-hot) / number of targets, and zero where a target is left out."""
    _, targets = batch_of(rng, batch, seq_len, left_out)
    logits = rng.randn(batch, seq_len, 7, requires_grad=True)
    return gradients(impl.cross_entropy(logits, targets), torch.ones(()), logits=logits)


@graded("cross_entropy", weight=1, rows=[{"shape": [2, 3]}])
def check_cross_entropy_nothing_to_predict(impl, rng, shape):
    """When every target is left out the loss is zero, and so is the gradient: never NaN."""
    logits = rng.randn(*shape, 5, requires_grad=True)
    loss = impl.cross_entropy(logits, torch.full(shape, -100))
    return gradients(loss, torch.ones(()), logits=logits)


@graded(
    "cross_entropy",
    weight=1,
    rows=[{"dtype": "bfloat16", "n": 5}, {"dtype": "float16", "n": 6}, {"dtype": "float64", "n": 4}],
    pins="dtypes",
)
def check_cross_entropy_dtype(impl, rng, dtype, n):
    """float16 and bfloat16 logits give a float32 loss, computed in float32; float64 stays float64."""
    return impl.cross_entropy(rng.integers(-4, 5, n, 9, dtype=dtype), rng.integers(0, 9, n))


@graded("cross_entropy", weight=1, rows=[{"shape": [2, 3, 4]}], pins="non-contiguous input, in-place safety")
def check_cross_entropy_leaves_inputs_alone(impl, rng, shape):
    """Inputs that are not contiguous in memory are read as they are and stay as they are."""
    logits, targets = rng.randn(*shape, 5, contiguous=False), rng.integers(-1, 5, *reversed(shape)).permute(2, 1, 0)
    loss = impl.cross_entropy(logits, targets, ignore_index=-1)
    return {"output": loss, "logits after the call": logits, "targets after the call": targets}


@graded("cross_entropy", weight=1, rows=[{"shape": [2, 3], "vocab_size": 3}, {"shape": [6], "vocab_size": 4}])
def check_cross_entropy_refuses_other_axes(impl, rng, shape, vocab_size):
    """Targets without the leading axes of logits are a ValueError that names targets."""
    return impl.cross_entropy(rng.randn(*shape, vocab_size), rng.integers(0, 3, 3, 2))


@graded("cross_entropy", weight=1, rows=[{"target": 5}, {"target": -1}])
def check_cross_entropy_refuses_unknown_ids(impl, rng, target):
    """A target that is no token id and not ignore_index is a ValueError that names targets."""
    return impl.cross_entropy(rng.randn(3, 5), torch.tensor([1, target, -100]))


# perplexity


@graded("perplexity", weight=3, rows=[{"counts": [3, 50, 7]}, {"counts": [9, 0, 1, 4]}])
def check_perplexity_values(impl, rng, counts):
    """Perplexity is exp of the mean over all targets: a batch weighs as much as it has targets."""
    return impl.perplexity(rng.randn(len(counts), shift=3.0), torch.tensor(counts))


@graded("perplexity", weight=1, rows=[{"dtype": "float64"}], pins="dtypes")
def check_perplexity_dtype(impl, rng, dtype):
    """The result is a tensor of the dtype of losses."""
    return impl.perplexity(rng.randn(3, shift=2.0, dtype=dtype), torch.tensor([5, 2, 4]))


@graded("perplexity", weight=1, rows=[{"counts": [3, 4]}, {"counts": [0, 0, 0]}])
def check_perplexity_refuses_counts(impl, rng, counts):
    """Counts of another shape, or without any target, are a ValueError that names counts."""
    return impl.perplexity(rng.randn(3), torch.tensor(counts))


# get_batch


@graded(
    "get_batch", weight=4, rows=[{"n_tokens": 50, "batch": 3, "seq_len": 5}, {"n_tokens": 31, "batch": 2, "seq_len": 7}]
)
def check_get_batch_values(impl, rng, n_tokens, batch, seq_len):
    """Windows start where one torch.randint says, targets are one token later, and the next call goes on drawing."""
    tokens, generator = rng.integers(0, 1000, n_tokens).numpy().astype(np.uint16), generator_of(rng)
    batches = [impl.get_batch(tokens, batch, seq_len, generator) for _ in range(2)]
    return {"batches": batches, "generator": generator.get_state()}


@graded("get_batch", weight=1, rows=[{"more": 1, "seq_len": 4}, {"more": 3, "seq_len": 3}])
def check_get_batch_short_text(impl, rng, more, seq_len):
    """Every start that leaves room for the last target is drawn, in a text of seq_len + 1 tokens the only one."""
    tokens = rng.integers(0, 1000, seq_len + more).numpy()
    return impl.get_batch(tokens, 30, seq_len, generator_of(rng))


@graded("get_batch", weight=1, rows=[{"kind": "memmap", "seq_len": 3}, {"kind": "tensor", "seq_len": 4}], pins="dtypes")
def check_get_batch_kinds_of_tokens(impl, rng, scratch, kind, seq_len):
    """Tokens may be a memory-mapped file of uint16 or an int32 tensor; the result is int64."""
    tokens = rng.integers(0, 60_000, 40)
    if kind == "memmap":
        (scratch / "tokens").write_bytes(tokens.numpy().astype(np.uint16).tobytes())
        return impl.get_batch(np.memmap(scratch / "tokens", np.uint16, "r"), 2, seq_len, generator_of(rng))
    return impl.get_batch(tokens.to(torch.int32), 2, seq_len, generator_of(rng))


@graded("get_batch", weight=2, rows=[{"n_tokens": 1_500_000_000, "seq_len": 6}])
def check_get_batch_reads_windows_only(impl, rng, n_tokens, seq_len):
    """A text far larger than memory costs no more than the windows that are read."""
    tokens = np.frombuffer(mmap.mmap(-1, 2 * n_tokens), np.uint16)  # pages that nobody reads take no memory
    return impl.get_batch(tokens, 3, seq_len, generator_of(rng))


@graded("get_batch", weight=1, rows=[{"seq_len": 4}])
def check_get_batch_two_tensors(impl, rng, seq_len):
    """Writing into the targets, to leave some out, changes neither the inputs nor the text."""
    tokens = rng.integers(0, 9, 20)
    token_ids, targets = impl.get_batch(tokens, 5, seq_len, generator_of(rng))
    targets[:] = -100
    return {"token_ids": token_ids, "tokens after the call": tokens}


@graded("get_batch", weight=1, rows=[{"seq_len": 5}])
def check_get_batch_device(impl, rng, seq_len):
    """Both tensors are put on the device that is asked for."""
    both = impl.get_batch(rng.integers(0, 9, 20).numpy(), 2, seq_len, generator_of(rng), device="meta")
    return [[tensor.device.type, str(tensor.dtype), list(tensor.shape)] for tensor in both]


@graded("get_batch", weight=1, rows=[{"n_tokens": 5, "seq_len": 5}, {"n_tokens": 3, "seq_len": 6}])
def check_get_batch_refuses_short_text(impl, rng, n_tokens, seq_len):
    """A text without room for one window and its last target is a ValueError that names tokens."""
    return impl.get_batch(rng.integers(0, 9, n_tokens).numpy(), 2, seq_len, generator_of(rng))


# pack_documents


def documents_of(rng, lengths):
    return [rng.integers(1, 90, n).tolist() for n in lengths]


@graded(
    "pack_documents",
    weight=4,
    rows=[{"lengths": [4, 7, 2], "seq_len": 5}, {"lengths": [3, 9], "seq_len": 4}],
    pins="values",
)
def check_pack_values(impl, rng, lengths, seq_len):
    """Each document is followed by the separator, and every token but the first is a target once, across rows too."""
    return impl.pack_documents(documents_of(rng, lengths), seq_len, 99)


@graded("pack_documents", weight=2, rows=[{"lengths": [2, 3], "seq_len": 3}, {"lengths": [3, 2, 1], "seq_len": 4}])
def check_pack_exact_fit(impl, rng, lengths, seq_len):
    """When the targets fill the last row there is no further row with nothing to predict."""
    return impl.pack_documents(documents_of(rng, lengths), seq_len, 99)


@graded("pack_documents", weight=1, rows=[{"lengths": [3, 0, 2, 0], "seq_len": 4}, {"lengths": [0], "seq_len": 2}])
def check_pack_empty_documents(impl, rng, lengths, seq_len):
    """An empty document leaves no trace, and without any document there are no rows."""
    return impl.pack_documents(documents_of(rng, lengths), seq_len, 99)


@graded("pack_documents", weight=1, rows=[{"lengths": [4, 3], "seq_len": 3}])
def check_pack_reads_once(impl, rng, lengths, seq_len):
    """Documents may come from a generator, and are left as they are."""
    documents = documents_of(rng, lengths)
    packed = impl.pack_documents((document for document in documents), seq_len, 99)
    return {"output": packed, "documents after the call": documents}


@graded("pack_documents", weight=1, rows=[{"seq_len": 0}, {"seq_len": -2}])
def check_pack_refuses_seq_len(impl, rng, seq_len):
    """A seq_len below 1 is a ValueError that names it."""
    return impl.pack_documents([[1, 2]], seq_len, 99)


# AdamW


def fixed_steps(rng, optimizer, parameters, steps, scale=1.0):
    """Feed the same gradients to every implementation; what the parameters and the state come to."""
    for _ in range(steps):
        for p in parameters:
            p.grad = rng.randn(*p.shape, scale=scale)
        optimizer.step()
    return {"parameters": [p.detach().clone() for p in parameters], "state": states(optimizer)}


def parameters_of(rng, *shapes, **options):
    return [nn.Parameter(rng.randn(*shape, **options)) for shape in shapes]


@graded("AdamW", weight=3, rows=[{"betas": [0.9, 0.999]}, {"betas": [0.8, 0.95]}], pins="the first step")
def check_adamw_first_step(impl, rng, betas):
    """The first step is of size lr: the means are divided by 1 - beta to the power of the step, from 1."""
    parameters = parameters_of(rng, (3, 4), (5,))
    optimizer = impl.AdamW(parameters, lr=0.03, betas=tuple(betas), eps=1e-3, weight_decay=0.0)
    return fixed_steps(rng, optimizer, parameters, 1)


@graded(
    "AdamW", weight=5, rows=[{"steps": 20, "weight_decay": 0.0}, {"steps": 25, "weight_decay": 0.3}], pins="many steps"
)
def check_adamw_many_steps(impl, rng, steps, weight_decay):
    """After many steps, without decay and with, the parameters and both running means are right."""
    parameters = parameters_of(rng, (3, 4), (5,))
    optimizer = impl.AdamW(parameters, lr=0.03, betas=(0.85, 0.97), eps=1e-3, weight_decay=weight_decay)
    return fixed_steps(rng, optimizer, parameters, steps)


@graded("AdamW", weight=2, rows=[{"scale": 0.01, "eps": 0.02}], pins="small gradients")
def check_adamw_eps(impl, rng, scale, eps):
    """eps is added to the root of the corrected second mean: it matters where gradients are small."""
    parameters = parameters_of(rng, (3, 4))
    optimizer = impl.AdamW(parameters, lr=0.1, betas=(0.9, 0.99), eps=eps, weight_decay=0.0)
    return fixed_steps(rng, optimizer, parameters, 4, scale)


@graded("AdamW", weight=1, pins="defaults")
def check_adamw_defaults(impl, rng):
    """AdamW is a torch.optim.Optimizer with lr 1e-3, betas (0.9, 0.999), eps 1e-8 and weight_decay 0.01."""
    optimizer = impl.AdamW(parameters_of(rng, (2, 3)))
    group = {name: optimizer.param_groups[0][name] for name in ("lr", "betas", "eps", "weight_decay")}
    return {"group": group, "is an Optimizer": isinstance(optimizer, torch.optim.Optimizer)}


@graded("AdamW", weight=2, rows=[{"lrs": [0.1, 0.02], "decays": [0.5, 0.0]}])
def check_adamw_groups(impl, rng, lrs, decays):
    """Each group of parameters has its own lr and weight_decay, and what it does not say comes from the defaults."""
    parameters = parameters_of(rng, (3, 2), (4,))
    groups = [{"params": [p], "lr": lr, "weight_decay": d} for p, lr, d in zip(parameters, lrs, decays, strict=True)]
    return fixed_steps(rng, impl.AdamW(groups, lr=9.0, betas=(0.6, 0.9), eps=1e-2), parameters, 3)


@graded("AdamW", weight=2, rows=[{"lrs": [0.01, 0.2, 0.05]}])
def check_adamw_follows_a_schedule(impl, rng, lrs):
    """lr is read from the group at every step, so that a schedule can change it."""
    parameters = parameters_of(rng, (3, 2))
    optimizer = impl.AdamW(parameters, lr=1.0, eps=1e-2, weight_decay=0.1)
    for lr in lrs:
        optimizer.param_groups[0]["lr"] = lr
        result = fixed_steps(rng, optimizer, parameters, 1)
    return result


@graded("AdamW", weight=2, rows=[{"before": 2, "after": 3}])
def check_adamw_without_gradient(impl, rng, before, after):
    """A parameter without a gradient is left alone: no decay, and its own count of steps does not move."""
    one, other = parameters_of(rng, (3,), (2, 4))
    optimizer = impl.AdamW([other, one], lr=0.1, eps=1e-2, weight_decay=0.5)
    first = fixed_steps(rng, optimizer, [one], before)
    resting = other.detach().clone()
    return {"first": first, "other before": resting, "both": fixed_steps(rng, optimizer, [one, other], after)}


@graded("AdamW", weight=1, rows=[{"shape": [3, 4]}], pins="in-place safety")
def check_adamw_changes_parameters_only(impl, rng, shape):
    """The parameter is changed in place, outside the graph, and its gradient stays as it is."""
    (p,) = parameters_of(rng, shape)
    before = p.data_ptr()
    optimizer = impl.AdamW([p], lr=0.1, eps=1e-2)
    result = fixed_steps(rng, optimizer, [p], 1)
    same = {"same memory": p.data_ptr() == before, "leaf": p.is_leaf and p.requires_grad}
    return result | same | {"gradient after the step": p.grad}


@graded("AdamW", weight=2, rows=[{"steps": 3}], pins="state_dict")
def check_adamw_takes_a_state(impl, rng, steps):
    """A state of torch.optim.AdamW can be loaded, and the optimizer goes on from there."""
    parameters = parameters_of(rng, (3, 4), (5,))
    options = {"lr": 0.03, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.2}
    torchs = torch.optim.AdamW(parameters, **options)
    fixed_steps(rng, torchs, parameters, steps)
    optimizer = impl.AdamW(parameters, lr=1.0)
    optimizer.load_state_dict(torchs.state_dict())
    return fixed_steps(rng, optimizer, parameters, 2)


@graded("AdamW", weight=1, rows=[{"dtype": "bfloat16"}, {"dtype": "float64"}], pins="dtypes")
def check_adamw_dtype(impl, rng, dtype):
    """Parameters keep their dtype, and the running means have it too."""
    (p,) = parameters_of(rng, (3, 4), dtype=dtype)
    p.grad = rng.randn(3, 4, dtype=dtype)
    optimizer = impl.AdamW([p], lr=0.1, eps=1e-2)
    optimizer.step()
    return {"parameter": p.detach(), "state": states(optimizer)}


@graded("AdamW", weight=1, rows=[{"wrong": {"lr": -0.1}}, {"wrong": {"betas": (0.9, 1.0)}}, {"wrong": {"eps": -1.0}}])
def check_adamw_refuses(impl, rng, wrong):
    """A negative lr, eps or weight_decay, or a beta outside [0, 1), is a ValueError that names it."""
    return impl.AdamW(parameters_of(rng, (2, 3)), **wrong).param_groups[0]["lr"]


# parameter_groups


class Mixed(nn.Module):
    """Parameters of one, two and three axes, one of them frozen, one of them shared."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(3)
        self.embedding = nn.Embedding(5, 3)
        self.hidden = nn.Linear(3, 4)
        self.kernel = nn.Parameter(torch.ones(2, 3, 4))
        self.frozen = nn.Linear(3, 2).requires_grad_(False)
        self.scale = nn.Parameter(torch.ones(()))
        self.head = nn.Linear(3, 5)
        self.head.weight = self.embedding.weight


def groups_of(groups, model):
    """Each group as the names of its parameters and its weight_decay."""
    names = {id(p): name for name, p in model.named_parameters()}
    return [{"names": [names[id(p)] for p in g["params"]], "weight_decay": g["weight_decay"]} for g in groups]


@graded("parameter_groups", weight=3, rows=[{"weight_decay": 0.1}])
def check_groups_of_a_model(impl, rng, weight_decay):
    """Matrices decay, biases and norms do not; frozen parameters are left out, a shared one is there once."""
    model = Mixed()
    return groups_of(impl.parameter_groups(model, weight_decay), model)


@graded("parameter_groups", weight=1, rows=[{"bias": False}], pins="empty groups")
def check_groups_may_be_empty(impl, rng, bias):
    """There are always two groups, also when one is empty."""
    model = nn.Linear(3, 2, bias=bias)
    return groups_of(impl.parameter_groups(model, 0.3), model)


# lr_at


@graded("lr_at", weight=2, rows=[{"warmup_steps": 7}, {"warmup_steps": 1}])
def check_lr_warmup(impl, rng, warmup_steps):
    """The rate rises on a line from max_lr / (warmup_steps + 1) to max_lr, reached at step warmup_steps."""
    return [impl.lr_at(step, 0.3, 0.02, warmup_steps, 40) for step in range(warmup_steps + 1)]


@graded("lr_at", weight=3, rows=[{"warmup_steps": 3, "total_steps": 11}, {"warmup_steps": 5, "total_steps": 12}])
def check_lr_cosine(impl, rng, warmup_steps, total_steps):
    """After the warm-up the rate falls on half a cosine that begins there and ends at min_lr."""
    return [impl.lr_at(step, 0.3, 0.02, warmup_steps, total_steps) for step in range(warmup_steps, total_steps)]


@graded("lr_at", weight=1, rows=[{"total_steps": 9}])
def check_lr_after_the_end(impl, rng, total_steps):
    """From total_steps on the rate is min_lr."""
    return [impl.lr_at(total_steps + more, 0.3, 0.02, 2, total_steps) for more in (0, 1, 5)]


@graded(
    "lr_at",
    weight=1,
    rows=[{"warmup_steps": 0, "total_steps": 5}, {"warmup_steps": 4, "total_steps": 4}],
    pins="one part only",
)
def check_lr_one_part_only(impl, rng, warmup_steps, total_steps):
    """There may be no warm-up, or nothing but the warm-up."""
    return [impl.lr_at(step, 0.3, 0.02, warmup_steps, total_steps) for step in range(total_steps + 2)]


@graded(
    "lr_at", weight=1, rows=[{"change": {"step": -1}}, {"change": {"warmup_steps": 11}}, {"change": {"min_lr": 0.5}}]
)
def check_lr_refuses(impl, rng, change):
    """A negative step, a warm-up longer than the run or min_lr above max_lr is a ValueError that names it."""
    return impl.lr_at(**{"step": 3, "max_lr": 0.3, "min_lr": 0.02, "warmup_steps": 2, "total_steps": 10} | change)


# clip_grad_norm


def with_gradients(rng, *shapes, scale=1.0):
    parameters = parameters_of(rng, *shapes)
    for p in parameters:
        p.grad = rng.randn(*p.shape, scale=scale)
    return parameters


@graded(
    "clip_grad_norm", weight=3, rows=[{"scale": 3.0, "max_norm": 0.7}, {"scale": 20.0, "max_norm": 5.0}], pins="values"
)
def check_clip_values(impl, rng, scale, max_norm):
    """All gradients are scaled by the same factor, to length max_norm together; the old length is returned."""
    parameters = with_gradients(rng, (3, 4), (5,), (), scale=scale)
    norm = impl.clip_grad_norm(parameters, max_norm)
    return {"output": norm, "gradients": [p.grad for p in parameters]}


@graded("clip_grad_norm", weight=2, rows=[{"scale": 0.01, "max_norm": 1.0}])
def check_clip_below_the_threshold(impl, rng, scale, max_norm):
    """Gradients shorter than max_norm stay as they are, bit for bit."""
    parameters = with_gradients(rng, (3, 4), (5,), scale=scale)
    before = [p.grad.clone() for p in parameters]
    norm = impl.clip_grad_norm(parameters, max_norm)
    return {"output": norm, "change": [p.grad - old for p, old in zip(parameters, before, strict=True)]}


@graded("clip_grad_norm", weight=1, rows=[{"scale": 1e-6, "max_norm": 1e-6}])
def check_clip_tiny_norm(impl, rng, scale, max_norm):
    """The factor is max_norm / (norm + 1e-6), as in torch; it shows where the norm is tiny."""
    parameters = with_gradients(rng, (3, 4), scale=scale)
    impl.clip_grad_norm(parameters, max_norm)
    return [p.grad for p in parameters]


@graded("clip_grad_norm", weight=2, rows=[{"shape": [3, 4]}])
def check_clip_reads_once(impl, rng, shape):
    """Parameters may come from a generator, and one of them may have no gradient."""
    parameters = with_gradients(rng, shape, (5,), (2,), scale=3.0)
    parameters[1].grad = None
    norm = impl.clip_grad_norm((p for p in parameters), 0.5)
    return {"output": norm, "gradients": [p.grad for p in parameters]}


@graded("clip_grad_norm", weight=1, rows=[{"shape": [3, 4]}], pins="no gradient at all")
def check_clip_without_gradients(impl, rng, shape):
    """Without any gradient the norm is zero."""
    return {"output": impl.clip_grad_norm(parameters_of(rng, shape), 1.0).reshape(())}


@graded("clip_grad_norm", weight=1, rows=[{"dtype": "float16"}, {"dtype": "float64"}], pins="dtypes")
def check_clip_dtype(impl, rng, dtype):
    """Squares of float16 gradients overflow nothing; gradients keep their dtype, the norm is float32 or wider."""
    parameters = parameters_of(rng, (3, 4), dtype=dtype)
    parameters[0].grad = rng.integers(-300, 301, 3, 4, dtype=dtype)
    norm = impl.clip_grad_norm(parameters, 100.0)
    return {"output": norm, "gradients": [p.grad for p in parameters]}


@graded("clip_grad_norm", weight=1, rows=[{"shape": [2, 3]}], pins="in-place safety")
def check_clip_in_place(impl, rng, shape):
    """The gradient tensors themselves are changed, and the parameters are not."""
    (p,) = with_gradients(rng, shape, scale=3.0)
    held = p.grad
    impl.clip_grad_norm([p], 0.5)
    return {"gradient held from before": held, "parameter": p.detach()}


@graded("clip_grad_norm", weight=1, rows=[{"max_norm": 0.0}, {"max_norm": -1.0}])
def check_clip_refuses(impl, rng, max_norm):
    """A max_norm that is not above zero is a ValueError that names it."""
    return impl.clip_grad_norm(with_gradients(rng, (2, 3)), max_norm)


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
    texts = [rng.integers(0, 7, n).numpy().astype(np.uint16) for n in (60, 40)]
    return [*texts, impl.TrainConfig(total_steps=total_steps, **shape | books | often | changes)]


@graded("train", weight=3, rows=[{"accumulation": 2, "seed": 11}, {"accumulation": 1, "seed": 3}], pins="values")
def check_train_values(impl, rng, accumulation, seed):
    """Losses, rates, norms and validation losses are right at every step, and the parameters at the end."""
    model = rng.fill(Tiny())
    records = impl.train(model, *run_of(impl, rng, accumulation=accumulation, seed=seed))
    return {"output": records, "parameters": values(model)}


@graded("train", weight=3, rows=[{"stop_at": 2}, {"stop_at": 5}])
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


@graded("train", weight=1, rows=[{"save_every": 3, "total_steps": 7}], pins="save_every")
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
