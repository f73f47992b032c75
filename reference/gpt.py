"""Module 3, gpt: from token ids to a distribution over the next token, and back to text.

A GPT is two tables of vectors, a stack of the blocks of module 2, a last norm and a linear layer. What is new is the
assembly, and it has a sharp test: `load_gpt2_weights` puts GPT-2's published weights into your model, which must then
give GPT-2's logits. torch.nn.Embedding is what you are building, so it is not allowed here.

Shapes use the words of the course: `...` is any number of leading axes, also none. Results keep the device and dtype
of the input, and no function changes its input in place. The filters take logits and give logits: what is excluded
is -inf. Only `init_weights` and `generate` draw numbers, and only from the generator they are given.
"""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .attention import Linear, softmax
from .block import LayerNorm, TransformerBlock

STD = 0.02
RESIDUAL = ("attention.out_proj.weight", "feed_forward.down_proj.weight")  # what a block adds to the stream
GPT2_NAMES = {  # theirs → ours
    "wte": "token_embedding",
    "wpe": "position_embedding",
    "ln_f": "norm_f",
    "ln_1": "norm1",
    "ln_2": "norm2",
    "attn.c_proj": "attention.out_proj",
    "mlp.c_fc": "feed_forward.up_proj",
    "mlp.c_proj": "feed_forward.down_proj",
}


class Embedding(nn.Module):
    """A table of vectors: row i of weight for token id i.

    Parameters:
        weight: (vocab_size, d_model).
    Initial values are not graded here, init_weights sets them; normal with standard deviation 0.02 is GPT-2's choice.
    Source: Bengio et al. 2003, section 2 (the matrix C). Task 3.1.
    """

    def __init__(self, vocab_size: int, d_model: int) -> None:
        """Register `weight`, vocab_size rows of d_model numbers, as a parameter."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab_size, d_model).normal_(0, STD))

    def forward(self, token_ids: Int[Tensor, "..."]) -> Float[Tensor, "... d_model"]:
        """Look up a row for each id.

        Args:
            token_ids: any shape, int64, also empty.
        Returns:
            (..., d_model), dtype and device of weight.
        Raises:
            ValueError: a token id is negative or not below vocab_size.
        """
        vocab_size = self.weight.shape[0]
        if token_ids.numel() and not 0 <= int(token_ids.min()) <= int(token_ids.max()) < vocab_size:
            low, high = int(token_ids.min()), int(token_ids.max())
            raise ValueError(f"token_ids must be at least 0 and below vocab_size={vocab_size}, got {low} to {high}")
        return self.weight[token_ids]  # (..., d_model)


class GPT(nn.Module):
    """token_ids → logits: token and position vectors, n_layers blocks, a last norm, a linear layer without bias.

    Modules:
        token_embedding: Embedding(vocab_size, d_model).
        position_embedding: Embedding(context_length, d_model), one learned vector a position.
        blocks: nn.ModuleList of n_layers TransformerBlock(d_model, n_heads, d_ff), pre-norm, tanh GELU, with biases.
        norm_f: LayerNorm(d_model), after the last block.
        lm_head: Linear(d_model, vocab_size) without bias. With tie_weights its weight is the very Parameter of
            token_embedding, so that one table reads and writes and the state dict holds it under both names.
    The attribute context_length is the longest seq_len.
    Source: Radford et al. 2019, section 2.3, and the published GPT-2; tying: Press and Wolf 2017. Task 3.2.
    """

    def __init__(
        self,
        vocab_size: int,
        context_length: int,
        d_model: int,
        n_heads: int,
        n_layers: int,
        d_ff: int | None = None,
        tie_weights: bool = True,
    ) -> None:
        """Register the parts under the names above.

        Args:
            vocab_size: number of token ids.
            context_length: number of positions.
            d_model: size of a token's vector.
            n_heads: heads of each block.
            n_layers: number of blocks.
            d_ff: hidden size of each block's feed-forward layer, 4 * d_model by default.
            tie_weights: whether lm_head and token_embedding share one weight.
        """
        super().__init__()
        self.context_length = context_length
        d_ff = 4 * d_model if d_ff is None else d_ff
        self.token_embedding = Embedding(vocab_size, d_model)
        self.position_embedding = Embedding(context_length, d_model)
        self.blocks = nn.ModuleList([TransformerBlock(d_model, n_heads, d_ff) for _ in range(n_layers)])
        self.norm_f = LayerNorm(d_model)
        self.lm_head = Linear(d_model, vocab_size, bias=False)
        if tie_weights:
            self.lm_head.weight = self.token_embedding.weight

    def features(self, token_ids: Int[Tensor, "batch seq_len"]) -> Float[Tensor, "batch seq_len d_model"]:
        """What lm_head reads: the stream of vectors after the last norm.

        Args:
            token_ids: (batch, seq_len), seq_len at most context_length.
        Returns:
            (batch, seq_len, d_model).
        Raises:
            ValueError: seq_len is beyond context_length.
        """
        seq_len = token_ids.shape[1]
        if seq_len > self.context_length:
            raise ValueError(f"seq_len must be at most context_length={self.context_length}, got seq_len={seq_len}")
        positions = torch.arange(seq_len, device=token_ids.device)
        x: Tensor = self.token_embedding(token_ids) + self.position_embedding(positions)  # (batch, seq_len, d_model)
        for block in self.blocks:
            x = block(x)
        stream: Tensor = self.norm_f(x)
        return stream

    def forward(self, token_ids: Int[Tensor, "batch seq_len"]) -> Float[Tensor, "batch seq_len vocab_size"]:
        """The logits of the next token at every position: no softmax, all positions.

        Args:
            token_ids: (batch, seq_len), seq_len at most context_length.
        Returns:
            (batch, seq_len, vocab_size); entry [b, t] is about token t + 1 and depends on tokens 0 to t alone.
        Raises:
            ValueError: seq_len is beyond context_length, or a token id is out of range.
        """
        logits: Tensor = self.lm_head(self.features(token_ids))
        return logits


def init_std(name: str, n_layers: int) -> float:
    """Standard deviation of the initial values of a weight: 0.02, or 0.02 / sqrt(2 n_layers) for residual projections.

    A block adds two results to the stream, those of attention.out_proj and of feed_forward.down_proj. 2 n_layers
    independent terms make the stream's variance grow 2 n_layers fold; dividing by the root keeps the sum's as it was.

    Args:
        name: a weight's full name in the model, such as blocks.3.attention.out_proj.weight.
        n_layers: number of blocks.
    Returns:
        The standard deviation, a float.
    Raises:
        ValueError: n_layers is below 1.
    Source: Radford et al. 2019, section 2.3. Task 3.3.
    """
    if n_layers < 1:
        raise ValueError(f"n_layers must be at least 1, got n_layers={n_layers}")
    return STD / math.sqrt(2 * n_layers) if name.endswith(RESIDUAL) else STD


def init_weights(model: nn.Module, generator: torch.Generator | None = None) -> None:
    """Set GPT-2's initial values: normal weights with mean 0 and standard deviation init_std, biases 0, norm weights 1.

    Args:
        model: a GPT. Its parameters are set in place and stay the same Parameter objects; a shared one stays shared.
        generator: the only source of the values, torch's default one if None. Which draw goes where is left open.
    Source: Radford et al. 2019, section 2.3, and the published code of GPT-2. Task 3.4.
    """
    n_layers = len(model.blocks)  # type: ignore[arg-type]
    with torch.no_grad():
        for name, parameter in model.named_parameters():  # a shared parameter comes once
            if parameter.ndim > 1:
                parameter.normal_(0, init_std(name, n_layers), generator=generator)
            else:
                parameter.fill_(0 if name.endswith("bias") else 1)


def count_parameters(model: nn.Module, non_embedding: bool = False) -> int:
    """The number of entries of all parameters, a shared parameter counted once.

    Args:
        model: a GPT. Parameters without requires_grad count as well.
        non_embedding: leave out the weights of token_embedding and position_embedding. A tied lm_head goes with them,
            an untied one stays.
    Returns:
        The number, an int.
    Source: Kaplan et al. 2020, section 2.1 (N). Task 3.5.
    """
    parameters = set(model.parameters())
    if non_embedding:
        parameters -= {model.token_embedding.weight, model.position_embedding.weight}  # type: ignore[union-attr]
    return sum(parameter.numel() for parameter in parameters)


def apply_temperature(logits: Float[Tensor, "... vocab_size"], temperature: float) -> Float[Tensor, "... vocab_size"]:
    """logits / temperature: below 1 the likely tokens become likelier, above 1 the others do.

    At 0, the limit, the largest logit (of equal ones that of the lowest id) keeps its value; the others become -inf.

    Args:
        logits: (..., vocab_size), any float dtype.
        temperature: at least 0.
    Returns:
        Same shape, dtype and device as logits.
    Raises:
        ValueError: temperature is negative.
    Source: Hinton et al. 2015, eq. 1. Task 3.6.
    """
    if temperature < 0:
        raise ValueError(f"temperature must be at least 0, got temperature={temperature}")
    if temperature > 0:
        return logits / temperature
    best = logits.argmax(dim=-1, keepdim=True)  # the first of equal ones
    return torch.full_like(logits, -math.inf).scatter(-1, best, logits.gather(-1, best))


def top_k_filter(logits: Float[Tensor, "... vocab_size"], k: int) -> Float[Tensor, "... vocab_size"]:
    """Keep the k largest logits of the last axis and set the others to -inf.

    Logits equal to the k-th largest are all kept, so ties can leave more than k: top_k_filter([3, 1, 3, 2, 2], 3) is
    [3, -inf, 3, 2, 2].

    Args:
        logits: (..., vocab_size), any float dtype.
        k: at least 1; from vocab_size on nothing changes.
    Returns:
        Same shape, dtype and device as logits.
    Raises:
        ValueError: k is below 1.
    Source: Fan et al. 2018, section 5.4. Task 3.7.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got k={k}")
    smallest = logits.topk(min(k, logits.shape[-1]), dim=-1).values[..., -1:]  # (..., 1)
    return logits.masked_fill(logits < smallest, -math.inf)


def top_p_filter(logits: Float[Tensor, "... vocab_size"], p: float) -> Float[Tensor, "... vocab_size"]:
    """Keep the smallest set of most probable tokens whose probabilities sum to at least p; the others become -inf.

    The tokens are taken from the most probable down, of equal logits the lower id first, until the sum is p or more.
    Probabilities (0.1, 0.5, 0.1, 0.3) keep ids 1 and 3 for p = 0.8 or 0.6, and ids 1, 3 and 0 for p = 0.85.

    Args:
        logits: (..., vocab_size), any float dtype. Probabilities of float16 and bfloat16 are computed in float32.
        p: from 0 to 1. At 0 the most probable token is kept, at 1 all are, however improbable.
    Returns:
        Same shape, dtype and device as logits.
    Raises:
        ValueError: p is below 0 or above 1.
    Source: Holtzman et al. 2020, section 3.1. Task 3.8.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"p must be from 0 to 1, got p={p}")
    if p == 1:
        return logits.clone()  # a sum of rounded numbers may reach 1 before the last token
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)
    probabilities = softmax(ordered.to(torch.promote_types(logits.dtype, torch.float32)), dim=-1)
    excluded = probabilities.cumsum(dim=-1) - probabilities >= p  # the more probable ones are enough without it
    excluded[..., 0] = False
    return logits.masked_fill(torch.empty_like(excluded).scatter(-1, order, excluded), -math.inf)


def next_token_distribution(
    logits: Float[Tensor, "... vocab_size"],
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Float[Tensor, "... vocab_size"]:
    """The probabilities that the next token is drawn from: temperature, then top-k, then top-p, then softmax.

    Each step works on what the one before has left, so top_p counts the probabilities among the top_k.

    Args:
        logits: (..., vocab_size), any float dtype. float16 and bfloat16 are computed in float32 inside.
        temperature: see apply_temperature.
        top_k: see top_k_filter; None = no such filter.
        top_p: see top_p_filter; None = no such filter.
    Returns:
        (..., vocab_size), same dtype and device as logits. The last axis sums to one; an excluded token has zero.
    Source: Holtzman et al. 2020, section 3. Task 3.9.
    """
    kept = apply_temperature(logits.to(torch.promote_types(logits.dtype, torch.float32)), temperature)
    if top_k is not None:
        kept = top_k_filter(kept, top_k)
    if top_p is not None:
        kept = top_p_filter(kept, top_p)
    return softmax(kept, dim=-1).to(logits.dtype)


def generate(
    model: nn.Module,
    token_ids: Int[Tensor, "batch seq_len"],
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: int | None = None,
    generator: torch.Generator | None = None,
) -> Int[Tensor, "batch longer"]:
    """Draw a token from the distribution at the last position, append it, and again.

    Args:
        model: what gives logits (batch, seq_len, vocab_size) for token ids (batch, seq_len) and has an attribute
            context_length. It reads the last context_length tokens, runs in eval mode and builds no graph; afterwards
            it and all its submodules are in the mode they were found in, also after an exception.
        token_ids: (batch, seq_len), the prompts, with at least one token. A seq_len beyond context_length is fine.
        max_new_tokens: how many tokens to add, at least 0.
        temperature: see next_token_distribution, also for top_k and top_p.
        stop: the token id that ends a sequence; None = none does. It is kept, and a sequence that has ended is filled
            with it while others go on. Nothing more is added once all have ended. In the prompt it ends nothing.
        generator: what the tokens are drawn from, and nothing else; torch's default one if None.
    Returns:
        (batch, seq_len + n) with the prompts in front, n at most max_new_tokens; same dtype and device as token_ids.
    Raises:
        ValueError: max_new_tokens is negative, or token_ids holds no token.
    Source: Radford et al. 2019, section 3. Task 3.10.
    """
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens must be at least 0, got max_new_tokens={max_new_tokens}")
    if token_ids.shape[1] == 0:
        raise ValueError(f"token_ids must hold at least one token, got shape {tuple(token_ids.shape)}")
    ended = torch.zeros(len(token_ids), 1, dtype=torch.bool, device=token_ids.device)
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        for _ in range(max_new_tokens):
            with torch.no_grad():
                logits = model(token_ids[:, -model.context_length :])[:, -1]  # type: ignore[operator]
            wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
            probabilities = next_token_distribution(wide, temperature, top_k, top_p)  # (batch, vocab_size)
            new = torch.multinomial(probabilities, 1, generator=generator).to(token_ids.dtype)  # (batch, 1)
            if stop is not None:
                new = new.masked_fill(ended, stop)
                ended = new == stop
            token_ids = torch.cat([token_ids, new], dim=1)
            if ended.all():
                break
    finally:
        for module, training in modes.items():
            module.training = training
    return token_ids


def load_gpt2_weights(model: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    """Copy the weights of a published GPT-2 checkpoint into the model.

    A checkpoint names its tensors wte.weight, wpe.weight, h.0.ln_1.weight … ln_f.bias, with or without transformer. in
    front of all of them but lm_head.weight. For layer i, with our name behind the arrow:
        h.i.ln_1, h.i.ln_2                 → norm1, norm2
        h.i.attn.c_attn                    → q_proj, k_proj and v_proj of attention, side by side in this order
        h.i.attn.c_proj                    → attention.out_proj
        h.i.mlp.c_fc, h.i.mlp.c_proj       → up_proj and down_proj of feed_forward
    Weights that begin with c_ are stored as (d_in, d_out), the transpose of ours: c_attn.weight is (d_model, 3 d_model)
    and its bias (3 d_model,). h.i.attn.bias and h.i.attn.masked_bias may be there: they are masks and are left out.

    Args:
        model: a GPT of the checkpoint's sizes. Its parameters stay the same Parameter objects, in their own dtype and
            on their own device, and share no memory with the checkpoint; a tied lm_head stays tied.
        state_dict: name → tensor. Without lm_head.weight, an untied lm_head gets the token embedding.
    Raises:
        ValueError: state_dict lacks a tensor, has one too many or one of another shape, or has an lm_head.weight other
            than wte.weight and the model is tied.
    Source: Radford et al. 2019, and the published checkpoints of GPT-2. Task 3.11.
    """
    found: dict[str, Tensor] = {}  # by our names
    for key, stored in state_dict.items():
        path, _, kind = key.removeprefix("transformer.").rpartition(".")  # h.3.attn.c_attn and weight
        layer, part = "", path
        if path.startswith("h."):
            _, number, part = path.split(".", 2)
            layer = f"blocks.{number}."
        if part == "attn":
            continue  # attn.bias and attn.masked_bias are masks
        turned = kind == "weight" and part.rpartition(".")[2].startswith("c_")
        tensor = stored.T if turned else stored  # (d_in, d_out) -> (d_out, d_in)
        if part == "attn.c_attn":
            for name, third in zip(("q_proj", "k_proj", "v_proj"), tensor.chunk(3), strict=False):
                found[f"{layer}attention.{name}.{kind}"] = third
        else:
            found[f"{layer}{GPT2_NAMES.get(part, part)}.{kind}"] = tensor
    if "token_embedding.weight" in found:
        found.setdefault("lm_head.weight", found["token_embedding.weight"])
    parameters = dict(model.named_parameters(remove_duplicate=False))
    ours, theirs = ({name: tuple(t.shape) for name, t in side.items()} for side in (parameters, found))
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            raise ValueError(f"{name} is {ours.get(name)} in the model and {theirs.get(name)} in state_dict")
    tied = parameters["lm_head.weight"] is parameters["token_embedding.weight"]
    if tied and not torch.equal(found["lm_head.weight"], found["token_embedding.weight"]):
        raise ValueError("state_dict has an lm_head.weight of its own, but the model was made with tie_weights=True")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(found[name])
