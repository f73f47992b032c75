"""Where the weights of the demo of module 3 come from: GPT-2's own, or a small model trained here once.

    GPT2=model.safetensors    weights on this disk in the layout of the published GPT-2: a file, or a folder with it
    GPT2=download             fetch the published ones (548 MB, once)

Without either, GPT-2 is used if it has been fetched before, and else a small model of single bytes, which `small`
trains on the text that every Python brings along. Both are kept in the cache folder of the user, never in here.
The given GPT learns there; the kit of this week has none, so in it your own does.
"""

import hashlib
import importlib
import importlib.util
import inspect
import math
import os
import pydoc_data.topics
import shutil
import sys
import time
import types
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import cross_entropy

URL = "https://huggingface.co/openai-community/gpt2/resolve/main/model.safetensors"
HEAD_DIM = 64  # of every published GPT-2, and of the small model
ROOT = Path(__file__).resolve().parents[2]
GIVEN = "demo_given"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """The small model and how it is trained; other values are for trying things out."""

    context_length: int = 96
    d_model: int = 128
    n_layers: int = 2
    steps: int = 1200
    batch: int = 16
    max_lr: float = 4e-3


@dataclass(frozen=True)
class Weights:
    """A checkpoint in the published layout, and how text becomes ids and ids text."""

    name: str
    state: dict[str, Tensor]
    encode: Callable[[str], list[int]]
    decode: Callable[[Sequence[int]], str]

    def sizes(self) -> dict[str, int]:
        """The arguments of GPT. The number of heads is not in the tensors, but all published heads are 64 wide."""
        state = {key.removeprefix("transformer."): tensor for key, tensor in self.state.items()}
        vocab_size, d_model = state["wte.weight"].shape
        layers = {key.split(".")[1] for key in state if key.startswith("h.")}
        return {
            "vocab_size": vocab_size,
            "context_length": len(state["wpe.weight"]),
            "d_model": d_model,
            "n_heads": d_model // HEAD_DIM,
            "n_layers": len(layers),
        }


def find(
    say: Say, plan: Plan, cache: Path | None = None, wish: str | None = None, own: types.ModuleType | None = None
) -> Weights:
    """The weights asked for by the variable GPT2, or the best there are without asking.

    Args:
        own: the gpt module that learns where there is no given one.
    Raises:
        FileNotFoundError: GPT2 is neither `download` nor the place of a file.
    """
    cache = cache_folder() if cache is None else cache
    wish = os.environ.get("GPT2", "") if wish is None else wish
    fetched = cache / "gpt2" / "model.safetensors"
    if wish and wish != "download":
        place = Path(wish).expanduser()
        return read(place / "model.safetensors" if place.is_dir() else place)
    try:
        if wish:
            download(fetched, say)
        if fetched.exists():
            return read(fetched)
    except OSError as error:  # tiktoken fetches its tables, too
        say(f"GPT-2 cannot be had from the network ({error}), so without it:")
    return small(say, plan, cache, own)


def cache_folder() -> Path:
    """Ours in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "llm-from-scratch-kit"


def read(file: Path) -> Weights:
    """A checkpoint; 256 ids are bytes, anything else is GPT-2's vocabulary."""
    if not file.is_file():
        raise FileNotFoundError(f"GPT2 names {file}, which is not there; it must be `download` or a .safetensors file")
    state = load_file(file)
    table = next(tensor for key, tensor in state.items() if key.removeprefix("transformer.") == "wte.weight")
    if len(table) == 256:
        return Weights("the small model", state, lambda text: list(text.encode()), spell_bytes)
    import tiktoken

    encoding = tiktoken.get_encoding("gpt2")  # it fetches its tables once, 1.5 MB
    return Weights("GPT-2", state, encoding.encode, lambda ids: encoding.decode(list(ids)))


def spell_bytes(ids: Sequence[int]) -> str:
    return bytes(ids).decode(errors="replace")


def download(file: Path, say: Say, url: str = URL) -> None:
    """Fetch the published weights, unless they are there already. What is half done never bears the final name."""
    if file.exists():
        return
    say(f"Fetching GPT-2 (548 MB) from {url}")
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    with urllib.request.urlopen(url) as source, part.open("wb") as target:
        shutil.copyfileobj(source, target)
    part.rename(file)
    say(f"  kept as {file}")


def small(say: Say, plan: Plan, cache: Path, own: types.ModuleType | None = None) -> Weights:
    """The small model, trained if no run before has left it in the cache; one of your own is of the code as it is."""
    text = "\n\n".join(pydoc_data.topics.topics.values()).encode()
    gpt, written = given_gpt(), ()
    if gpt is None and own is not None:
        gpt, written = own, (source_of(own),)
        say("The given GPT comes with the next week's kit: here your own learns.")
    mark = hashlib.sha256(repr((1, astuple(plan), hashlib.sha256(text).hexdigest(), *written)).encode()).hexdigest()[
        :12
    ]
    file = cache / f"small-{'own-' if written else ''}{mark}.safetensors"
    if not file.exists():
        if gpt is None:
            raise FileNotFoundError("no GPT to train: there is neither a given one nor your own")
        state = train(gpt, torch.tensor(list(text)), plan, say)
        cache.mkdir(parents=True, exist_ok=True)
        for old in cache.glob("small-own-*") if written else ():
            old.unlink()
        part = file.with_suffix(f".{os.getpid()}")
        save_file(state, part)
        part.rename(file)
        say(f"  kept as {file}")
    return read(file)


def source_of(impl: types.ModuleType) -> str:
    """The text of a module and of those beside it that are loaded."""
    beside = sorted(name for name in sys.modules if name.startswith(f"{impl.__package__}."))
    return "\n".join(inspect.getsource(sys.modules[name]) for name in beside)


def given_gpt(folder: Path = ROOT / "assignments" / "given") -> types.ModuleType | None:
    """given/gpt.py, None where there is none. Its package has a name of its own: `assignments` may be the student's."""
    if not (folder / "gpt.py").is_file():
        return None
    spec = importlib.util.spec_from_file_location(
        GIVEN, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    package = sys.modules[GIVEN] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    return importlib.import_module(f"{GIVEN}.gpt")


def train(gpt: types.ModuleType, text: Tensor, plan: Plan, say: Say) -> dict[str, Tensor]:
    """Learn the next byte on nine tenths of the text, tell the loss on the rest, give the published layout."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):  # the values that the layers draw are replaced at once
        heads = plan.d_model // HEAD_DIM
        model = gpt.GPT(256, plan.context_length, plan.d_model, heads, plan.n_layers)
    gpt.init_weights(model, generator)
    say(
        f"No weights of GPT-2 here, so a small model of bytes ({gpt.count_parameters(model):,} parameters) is trained "
        f"once, on the text of Python's help() ({len(text):,} bytes), for {plan.steps} steps: a few minutes."
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.max_lr, betas=(0.9, 0.95), weight_decay=0.1)
    cut, start = len(text) * 9 // 10, time.perf_counter()
    for step in range(plan.steps):
        for group in optimizer.param_groups:
            group["lr"] = plan.max_lr * min((step + 1) / 40, 0.1 + 0.45 * (1 + math.cos(math.pi * step / plan.steps)))
        loss = next_byte_loss(model, text[:cut], plan, generator)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 200 == 0 or step + 1 == plan.steps:
            with torch.no_grad():
                held_out = sum(float(next_byte_loss(model, text[cut:], plan, generator)) for _ in range(8)) / 8
            bits, seconds = held_out / math.log(2), time.perf_counter() - start
            say(f"  step {step + 1:>5}   {bits:.2f} bits a byte on text held out   {seconds:.0f} s")
    return published(model)


def next_byte_loss(model: torch.nn.Module, text: Tensor, plan: Plan, generator: torch.Generator) -> Tensor:
    starts = torch.randint(len(text) - plan.context_length, (plan.batch, 1), generator=generator)
    rows = text[starts + torch.arange(plan.context_length + 1)]  # (batch, context_length + 1)
    return cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())


def published(model: torch.nn.Module) -> dict[str, Tensor]:
    """The weights under GPT-2's names, as (d_in, d_out) where GPT-2 has them so: what load_gpt2_weights reads."""
    ours = {name: parameter.detach() for name, parameter in model.named_parameters()}
    state = {"wte.weight": ours["token_embedding.weight"], "wpe.weight": ours["position_embedding.weight"]}
    pairs = {"ln_1": "norm1", "ln_2": "norm2", "attn.c_proj": "attention.out_proj"}
    pairs |= {"mlp.c_fc": "feed_forward.up_proj", "mlp.c_proj": "feed_forward.down_proj"}
    for kind in ("weight", "bias"):
        state[f"ln_f.{kind}"] = ours[f"norm_f.{kind}"]
        for i in range(len(model.blocks)):  # type: ignore[arg-type]
            parts = [ours[f"blocks.{i}.attention.{name}_proj.{kind}"] for name in "qkv"]
            state[f"h.{i}.attn.c_attn.{kind}"] = torch.cat(parts).t()  # t() leaves a bias alone
            for theirs, name in pairs.items():
                tensor = ours[f"blocks.{i}.{name}.{kind}"]
                state[f"h.{i}.{theirs}.{kind}"] = tensor.t() if ".c_" in theirs else tensor
    return {name: tensor.contiguous() for name, tensor in state.items()}
