"""Module 3, gpt, step by step: rows and tokens one after the other, plain lists and dicts, no clever indexing."""

import math

import torch
from torch import Tensor, nn

from .attention import Linear, softmax
from .block import LayerNorm, TransformerBlock


class Embedding(nn.Module):
    """A table of vectors, read one token at a time."""

    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__()
        rows = [torch.randn(d_model) * 0.02 for _ in range(vocab_size)]
        self.weight = nn.Parameter(torch.stack(rows))

    def forward(self, token_ids: Tensor) -> Tensor:
        vocab_size, d_model = self.weight.shape
        rows = []
        for token_id in token_ids.flatten().tolist():
            if token_id < 0 or token_id >= vocab_size:
                raise ValueError(f"token_ids: {token_id} is not from 0 to vocab_size - 1 = {vocab_size - 1}")
            rows.append(self.weight[token_id])
        if not rows:
            return self.weight.new_zeros(*token_ids.shape, d_model)
        return torch.stack(rows).reshape(*token_ids.shape, d_model)


class GPT(nn.Module):
    """Tables, blocks, a norm and a head, each made in turn."""

    def __init__(self, vocab_size, context_length, d_model, n_heads, n_layers, d_ff=None, tie_weights=True):
        super().__init__()
        if d_ff is None:
            d_ff = 4 * d_model
        self.context_length = context_length
        self.token_embedding = Embedding(vocab_size, d_model)
        self.position_embedding = Embedding(context_length, d_model)
        self.blocks = nn.ModuleList()
        for _ in range(n_layers):
            self.blocks.append(TransformerBlock(d_model, n_heads, d_ff))
        self.norm_f = LayerNorm(d_model)
        self.lm_head = Linear(d_model, vocab_size, bias=False)
        if tie_weights:
            self.lm_head.weight = self.token_embedding.weight

    def features(self, token_ids: Tensor) -> Tensor:
        batch, seq_len = token_ids.shape
        if seq_len > self.context_length:
            raise ValueError(f"context_length is {self.context_length}, but token_ids has seq_len {seq_len}")
        sequences = []
        for i in range(batch):
            columns = []
            for t in range(seq_len):
                position = torch.tensor(t, device=token_ids.device)
                columns.append(self.token_embedding(token_ids[i, t]) + self.position_embedding(position))
            sequences.append(torch.stack(columns))
        x = torch.stack(sequences)
        for layer in range(len(self.blocks)):
            x = self.blocks[layer](x)
        return self.norm_f(x)

    def forward(self, token_ids: Tensor) -> Tensor:
        x = self.features(token_ids)
        return self.lm_head(x)


def init_std(name: str, n_layers: int) -> float:
    if n_layers < 1:
        raise ValueError(f"n_layers is {n_layers}, it must be 1 or more")
    std = 0.02
    for residual in ("out_proj", "down_proj"):
        if residual in name:
            std = std / math.sqrt(2 * n_layers)
    return std


@torch.no_grad()
def init_weights(model: nn.Module, generator: torch.Generator | None = None) -> None:
    n_layers = len(model.blocks)
    done = []
    for module_name, module in model.named_modules():
        for kind, parameter in module.named_parameters(recurse=False):
            if any(parameter is other for other in done):
                continue
            done.append(parameter)
            if kind == "bias":
                parameter.zero_()
            elif len(parameter.shape) == 1:
                parameter.copy_(torch.ones_like(parameter))
            else:
                drawn = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(drawn * init_std(f"{module_name}.{kind}", n_layers))


def count_parameters(model: nn.Module, non_embedding: bool = False) -> int:
    tables = [model.token_embedding.weight, model.position_embedding.weight]
    seen: dict[int, int] = {}
    for parameter in model.parameters():
        if non_embedding and any(parameter is table for table in tables):
            continue
        size = 1
        for length in parameter.shape:
            size *= length
        seen[id(parameter)] = size
    return sum(seen.values())


def rows_of(logits: Tensor) -> Tensor:
    """All leading axes as one: (n, vocab_size)."""
    return logits.reshape(-1, logits.shape[-1])


def apply_temperature(logits: Tensor, temperature: float) -> Tensor:
    if temperature < 0:
        raise ValueError(f"temperature is {temperature}, it must not be negative")
    if temperature != 0:
        return logits * (1 / temperature)
    result = torch.full_like(logits, float("-inf"))
    for row, output in zip(rows_of(logits), result.view(-1, logits.shape[-1]), strict=True):
        values = row.tolist()
        best = values.index(max(values))
        output[best] = row[best]
    return result


def top_k_filter(logits: Tensor, k: int) -> Tensor:
    if k < 1:
        raise ValueError(f"k is {k}, it must be 1 or more")
    kept = []
    for row in rows_of(logits):
        values = sorted(row.tolist(), reverse=True)
        threshold = values[min(k, len(values)) - 1]
        kept.append(torch.tensor([value >= threshold for value in row.tolist()], device=logits.device))
    return torch.where(torch.stack(kept).reshape(logits.shape), logits, float("-inf"))


def top_p_filter(logits: Tensor, p: float) -> Tensor:
    if p < 0 or p > 1:
        raise ValueError(f"p is {p}, it must be from 0 to 1")
    vocab_size = logits.shape[-1]
    kept = torch.zeros(logits.shape, dtype=torch.bool, device=logits.device).reshape(-1, vocab_size)
    for i, row in enumerate(rows_of(logits)):
        wide = row.to(torch.promote_types(row.dtype, torch.float32))
        probabilities = softmax(wide, dim=-1)
        ids = sorted(range(vocab_size), key=lambda token_id, row=row: (-row[token_id].item(), token_id))
        total = torch.zeros((), dtype=wide.dtype)
        for token_id in ids:
            kept[i, token_id] = True
            total = total + probabilities[token_id]
            if total >= p and p < 1:
                break
    return torch.where(kept.reshape(logits.shape), logits, float("-inf"))


def next_token_distribution(logits, temperature=1.0, top_k=None, top_p=None):
    dtype = logits.dtype
    if dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    logits = apply_temperature(logits, temperature)
    if top_k is not None:
        logits = top_k_filter(logits, top_k)
    if top_p is not None:
        logits = top_p_filter(logits, top_p)
    return softmax(logits, dim=-1).to(dtype)


def draw(probabilities: Tensor, generator: torch.Generator | None) -> int:
    """An index, found by walking up the sum of the probabilities to a uniform number."""
    target = torch.rand((), generator=generator, dtype=torch.float64).item() * sum(probabilities)
    last = 0
    for index, probability in enumerate(probabilities):
        if probability > 0:
            last = index
            target -= probability
            if target < 0:
                break
    return last


def generate(
    model, token_ids, max_new_tokens, temperature=1.0, top_k=None, top_p=None, stop=None, generator=None
) -> Tensor:
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens is {max_new_tokens}, it must not be negative")
    if token_ids.shape[1] == 0:
        raise ValueError("token_ids holds sequences without any token")
    sequences = token_ids.tolist()
    ended = [False for _ in sequences]
    were_training = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        for _ in range(max_new_tokens):
            if all(ended):
                break
            window = [sequence[-model.context_length :] for sequence in sequences]
            with torch.no_grad():
                logits = model(torch.tensor(window, dtype=token_ids.dtype, device=token_ids.device))
            last = logits[:, logits.shape[1] - 1, :].float()
            probabilities = next_token_distribution(last, temperature, top_k, top_p).tolist()
            for i, sequence in enumerate(sequences):
                if ended[i]:
                    sequence.append(stop)
                    continue
                sequence.append(draw(probabilities[i], generator))
                if stop is not None and sequence[-1] == stop:
                    ended[i] = True
    finally:
        for module, training in were_training:
            module.training = training
    return torch.tensor(sequences, dtype=token_ids.dtype, device=token_ids.device)


def target_names(model: nn.Module) -> dict[str, list[str]]:
    """For each name of a checkpoint the names of ours that it fills."""
    names = {
        "wte.weight": ["token_embedding.weight"],
        "wpe.weight": ["position_embedding.weight"],
        "lm_head.weight": ["lm_head.weight"],
    }
    for kind in ("weight", "bias"):
        names[f"ln_f.{kind}"] = [f"norm_f.{kind}"]
        for i in range(len(model.blocks)):
            theirs, ours = f"h.{i}", f"blocks.{i}"
            names[f"{theirs}.ln_1.{kind}"] = [f"{ours}.norm1.{kind}"]
            names[f"{theirs}.ln_2.{kind}"] = [f"{ours}.norm2.{kind}"]
            names[f"{theirs}.attn.c_attn.{kind}"] = [f"{ours}.attention.{part}_proj.{kind}" for part in ("q", "k", "v")]
            names[f"{theirs}.attn.c_proj.{kind}"] = [f"{ours}.attention.out_proj.{kind}"]
            names[f"{theirs}.mlp.c_fc.{kind}"] = [f"{ours}.feed_forward.up_proj.{kind}"]
            names[f"{theirs}.mlp.c_proj.{kind}"] = [f"{ours}.feed_forward.down_proj.{kind}"]
    return names


def without_masks(state_dict) -> dict[str, Tensor]:
    """The weights of a checkpoint by their short names, the head among them."""
    given = {}
    for name in state_dict:
        short = name
        if name.startswith("transformer."):
            short = name[len("transformer.") :]
        if not short.endswith((".attn.bias", ".attn.masked_bias")):
            given[short] = state_dict[name]
    if "lm_head.weight" not in given and "wte.weight" in given:
        given["lm_head.weight"] = given["wte.weight"]
    return given


def load_gpt2_weights(model: nn.Module, state_dict) -> None:
    given = without_masks(state_dict)
    names = target_names(model)
    for key in given:
        if key not in names:
            raise ValueError(f"state_dict holds {key}, for which the model has no place")
    for key in names:
        if key not in given:
            raise ValueError(f"state_dict does not hold {key}, which the model needs")
    tied = model.lm_head.weight is model.token_embedding.weight
    if tied and (given["lm_head.weight"] != given["wte.weight"]).any():
        raise ValueError("the head of state_dict is not its wte.weight, as a tied model wants it")

    new = {}
    for key, ours in names.items():
        tensor = given[key]
        if ".c_" in key and key.endswith("weight"):
            tensor = torch.stack([tensor[:, column] for column in range(tensor.shape[1])])
        size = tensor.shape[0] // len(ours)
        for i, name in enumerate(ours):
            part = tensor[i * size : (i + 1) * size]
            if part.shape != model.get_parameter(name).shape:
                wanted = tuple(model.get_parameter(name).shape)
                raise ValueError(f"state_dict: {key} has shape {tuple(tensor.shape)}, {name} needs {wanted}")
            new[name] = part
    for name, part in new.items():
        model.get_parameter(name).data[:] = part
