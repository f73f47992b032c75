"""The graded checks of module 5 on the optimizer, its schedule and clipping."""

import torch
from check_training import states
from torch import nn

from grader import graded

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


@graded("AdamW", weight=1, rows=[{"steps": 2}], pins="device", second_device=True)
def check_adamw_on_another_device(impl, rng, steps):
    """Parameters on a GPU have their running means there."""
    parameters = parameters_of(rng, (3, 4))
    return fixed_steps(rng, impl.AdamW(parameters, lr=0.1, eps=1e-3), parameters, steps)


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


def length(norm):
    """A float64 norm as float32, which is as good; anything else as it is."""
    return norm.float() if getattr(norm, "dtype", None) == torch.float64 else norm


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
    return {"output": length(norm), "gradients": [p.grad for p in parameters]}


@graded("clip_grad_norm", weight=2, rows=[{"scale": 0.01, "max_norm": 1.0}])
def check_clip_below_the_threshold(impl, rng, scale, max_norm):
    """Gradients shorter than max_norm stay as they are, bit for bit."""
    parameters = with_gradients(rng, (3, 4), (5,), scale=scale)
    before = [p.grad.clone() for p in parameters]
    norm = impl.clip_grad_norm(parameters, max_norm)
    return {"output": length(norm), "change": [p.grad - old for p, old in zip(parameters, before, strict=True)]}


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
    return {"output": length(norm), "gradients": [p.grad for p in parameters]}


@graded("clip_grad_norm", weight=1, rows=[{"shape": [3, 4]}], pins="no gradient at all")
def check_clip_without_gradients(impl, rng, shape):
    """Without any gradient the norm is zero."""
    return {"output": length(impl.clip_grad_norm(parameters_of(rng, shape), 1.0)).reshape(()).cpu()}


@graded("clip_grad_norm", weight=1, rows=[{"dtype": "float16"}, {"dtype": "float64"}], pins="dtypes")
def check_clip_dtype(impl, rng, dtype):
    """Squares of float16 gradients overflow nothing; gradients keep their dtype, the norm is float32 or wider."""
    parameters = parameters_of(rng, (3, 4), dtype=dtype)
    parameters[0].grad = rng.integers(-300, 301, 3, 4, dtype=dtype)
    norm = impl.clip_grad_norm(parameters, 100.0)
    return {"output": length(norm), "gradients": [p.grad for p in parameters]}


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
