"""The graded checks of module 5. Models are tiny and stand in this file; optimizers are fed with fixed gradients.

A check returns losses, parameters and states, never a verdict on them. eps is large where an optimizer takes steps:
with a tiny one Adam turns the rounding of a gradient near zero into a step of full size.
"""

import mmap

import numpy as np
import torch

from grader import graded, gradients


def batch_of(rng, batch, seq_len, left_out=0, vocab_size=7):
    """token_ids and targets, the first `left_out` targets of every row -100."""
    targets = rng.integers(0, vocab_size, batch, seq_len)
    targets[:, :left_out] = -100
    return rng.integers(0, vocab_size, batch, seq_len), targets


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
    targets[torch.arange(max(lengths), device=rng.device) >= torch.tensor(lengths, device=rng.device)[:, None]] = -100
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
    loss = impl.cross_entropy(logits, rng.integers(0, 4, n))
    return gradients(loss, torch.ones((), device=rng.device), logits=logits)


@graded("cross_entropy", weight=2, rows=[{"batch": 3, "seq_len": 4, "left_out": 1}], pins="gradients")
def check_cross_entropy_gradient(impl, rng, batch, seq_len, left_out):
    """The gradient is (softmax - one-hot) / number of targets, and zero where a target is left out."""
    _, targets = batch_of(rng, batch, seq_len, left_out)
    logits = rng.randn(batch, seq_len, 7, requires_grad=True)
    return gradients(impl.cross_entropy(logits, targets), torch.ones((), device=rng.device), logits=logits)


@graded("cross_entropy", weight=1, rows=[{"shape": [2, 3]}])
def check_cross_entropy_nothing_to_predict(impl, rng, shape):
    """When every target is left out the loss is zero, and so is the gradient: never NaN."""
    logits = rng.randn(*shape, 5, requires_grad=True)
    loss = impl.cross_entropy(logits, torch.full(shape, -100, device=rng.device))
    return gradients(loss, torch.ones((), device=rng.device), logits=logits)


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


@graded("cross_entropy", weight=1, rows=[{"batch": 3}], pins="device", second_device=True)
def check_cross_entropy_on_another_device(impl, rng, batch):
    """With logits and targets on a GPU the loss is there too."""
    _, targets = batch_of(rng, batch, 4, 2)
    return impl.cross_entropy(rng.randn(batch, 4, 7), targets)


@graded("cross_entropy", weight=1, rows=[{"shape": [2, 3], "vocab_size": 3}, {"shape": [6], "vocab_size": 4}])
def check_cross_entropy_refuses_other_axes(impl, rng, shape, vocab_size):
    """Targets without the leading axes of logits are a ValueError that names targets."""
    return impl.cross_entropy(rng.randn(*shape, vocab_size), rng.integers(0, 3, 3, 2))


@graded("cross_entropy", weight=1, rows=[{"target": 5}, {"target": -1}])
def check_cross_entropy_refuses_unknown_ids(impl, rng, target):
    """A target that is no token id and not ignore_index is a ValueError that names targets."""
    return impl.cross_entropy(rng.randn(3, 5), torch.tensor([1, target, -100], device=rng.device))


# perplexity


@graded("perplexity", weight=3, rows=[{"counts": [3, 50, 7]}, {"counts": [9, 0, 1, 4]}])
def check_perplexity_values(impl, rng, counts):
    """Perplexity is exp of the mean over all targets: a batch weighs as much as it has targets."""
    return impl.perplexity(rng.randn(len(counts), shift=3.0), torch.tensor(counts, device=rng.device))


@graded("perplexity", weight=1, rows=[{"dtype": "float64"}], pins="dtypes")
def check_perplexity_dtype(impl, rng, dtype):
    """The result is a tensor of the dtype of losses."""
    return impl.perplexity(rng.randn(3, shift=2.0, dtype=dtype), torch.tensor([5, 2, 4], device=rng.device))


@graded("perplexity", weight=1, rows=[{"counts": [3, 4]}, {"counts": [0, 0, 0]}])
def check_perplexity_refuses_counts(impl, rng, counts):
    """Counts of another shape, or without any target, are a ValueError that names counts."""
    return impl.perplexity(rng.randn(3), torch.tensor(counts, device=rng.device))


# get_batch


@graded(
    "get_batch", weight=4, rows=[{"n_tokens": 50, "batch": 3, "seq_len": 5}, {"n_tokens": 31, "batch": 2, "seq_len": 7}]
)
def check_get_batch_values(impl, rng, n_tokens, batch, seq_len):
    """Windows start where one torch.randint says, targets are one token later, and the next call goes on drawing."""
    tokens, generator = rng.integers(0, 1000, n_tokens).cpu().numpy().astype(np.uint16), generator_of(rng)
    batches = [impl.get_batch(tokens, batch, seq_len, generator) for _ in range(2)]
    return {"batches": batches, "generator": generator.get_state()}


@graded("get_batch", weight=1, rows=[{"more": 1, "seq_len": 4}, {"more": 3, "seq_len": 3}])
def check_get_batch_short_text(impl, rng, more, seq_len):
    """Every start that leaves room for the last target is drawn, in a text of seq_len + 1 tokens the only one."""
    tokens = rng.integers(0, 1000, seq_len + more).cpu().numpy()
    return impl.get_batch(tokens, 30, seq_len, generator_of(rng))


@graded("get_batch", weight=1, rows=[{"kind": "memmap", "seq_len": 3}, {"kind": "tensor", "seq_len": 4}], pins="dtypes")
def check_get_batch_kinds_of_tokens(impl, rng, scratch, kind, seq_len):
    """Tokens may be a memory-mapped file of uint16 or an int32 tensor; the result is int64."""
    tokens = rng.integers(0, 60_000, 40).cpu()
    if kind == "memmap":
        (scratch / "tokens").write_bytes(tokens.cpu().numpy().astype(np.uint16).tobytes())
        return impl.get_batch(np.memmap(scratch / "tokens", np.uint16, "r"), 2, seq_len, generator_of(rng))
    return impl.get_batch(tokens.to(torch.int32), 2, seq_len, generator_of(rng))


@graded("get_batch", weight=2, rows=[{"n_tokens": 600_000_000, "seq_len": 6}])
def check_get_batch_reads_windows_only(impl, rng, n_tokens, seq_len):
    """A text far larger than memory costs no more than the windows that are read."""
    empty = mmap.mmap(-1, 2 * n_tokens, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ)  # takes no memory
    tokens = np.frombuffer(empty, np.uint16)
    return impl.get_batch(tokens, 3, seq_len, generator_of(rng))


@graded("get_batch", weight=1, rows=[{"seq_len": 4}])
def check_get_batch_two_tensors(impl, rng, seq_len):
    """Writing into the targets, to leave some out, changes neither the inputs nor the text."""
    tokens = rng.integers(0, 9, 20).cpu()
    token_ids, targets = impl.get_batch(tokens, 5, seq_len, generator_of(rng))
    targets[:] = -100
    return {"token_ids": token_ids, "tokens after the call": tokens}


@graded("get_batch", weight=1, rows=[{"seq_len": 5}], second_device=True)
def check_get_batch_device(impl, rng, seq_len):
    """Both tensors are put on the device that is asked for."""
    return impl.get_batch(rng.integers(0, 9, 20).cpu().numpy(), 2, seq_len, generator_of(rng), device=rng.device)


@graded("get_batch", weight=1, rows=[{"n_tokens": 5, "seq_len": 5}, {"n_tokens": 3, "seq_len": 6}])
def check_get_batch_refuses_short_text(impl, rng, n_tokens, seq_len):
    """A text without room for one window and its last target is a ValueError that names tokens."""
    return impl.get_batch(rng.integers(0, 9, n_tokens).cpu().numpy(), 2, seq_len, generator_of(rng))


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
