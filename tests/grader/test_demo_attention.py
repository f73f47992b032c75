"""The demo of the attention module: learnt with a working attention, and only with one."""

import importlib.util
import struct
import time
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

pytest.importorskip("matplotlib")
from assignments.given import attention as given
from reference import attention as reference

ROOT = Path(__file__).resolve().parents[2]


def load(path: Path, name: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


DEMO = load(ROOT / "handouts" / "demos" / "attention.py", "demo_attention")


def altered(**names: object) -> types.ModuleType:
    """A copy of the reference in which some names mean something else."""
    impl = load(ROOT / "reference" / "attention.py", "altered_attention")
    vars(impl).update(names)
    return impl


def uniform_weights(q: torch.Tensor, k: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Attention weights that look at neither q nor k."""
    return reference.attention_weights(torch.zeros_like(q), torch.zeros_like(k), mask)


def nan_weights(q: torch.Tensor, k: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """What a row of scores without a finite entry would make of the loss."""
    return reference.attention_weights(q, k, mask) * torch.nan


def unfinished(*_: object) -> None:
    raise NotImplementedError("Task 1.4")


def test_run_writes_two_pictures_and_names_the_unlearnt_one(tmp_path: Path) -> None:
    lines: list[str] = []
    pictures = DEMO.run(reference, tmp_path / "new", lines.append, steps=3)
    assert [path.name for path in pictures] == ["sentence.png", "reversal-not-learnt.png"]
    for path in pictures:
        head = path.read_bytes()[:24]
        assert head.startswith(b"\x89PNG")
        assert min(struct.unpack(">II", head[16:24])) > 1000
    assert any(line.startswith("NOT learnt: ") for line in lines)
    assert sum("answer" in line for line in lines) == 2


def test_run_drops_the_picture_of_an_earlier_verdict(tmp_path: Path) -> None:
    (tmp_path / "reversal.png").touch()
    DEMO.run(reference, tmp_path, lambda _: None, steps=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["reversal-not-learnt.png", "sentence.png"]


def test_run_tells_the_same_whatever_the_global_state(tmp_path: Path) -> None:
    told: list[list[str]] = []
    threads = torch.get_num_threads()
    for seed in (1, 2):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        lines: list[str] = []
        DEMO.run(reference, tmp_path, lines.append, steps=5)
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.get_num_threads() == threads
        told.append([line.rpartition("(")[0] for line in lines])  # the last bracket holds the seconds
    assert told[0] == told[1]


def test_run_lets_an_unfinished_task_through_after_what_works(tmp_path: Path) -> None:
    with pytest.raises(NotImplementedError, match=r"Task 1\.4"):
        DEMO.run(altered(MultiHeadAttention=unfinished), tmp_path, lambda _: None, steps=1)
    assert (tmp_path / "sentence.png").exists()


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        (uniform_weights, "No gradient reaches attention.k_proj.weight, attention.q_proj.weight"),
        (nan_weights, "The weights became nan"),
        (reference.attention_weights, "Every parameter gets a gradient"),
    ],
)
def test_run_gives_a_reason_when_nothing_was_learnt(
    tmp_path: Path, weights: Callable[..., torch.Tensor], reason: str
) -> None:
    lines: list[str] = []
    DEMO.run(altered(attention_weights=weights), tmp_path, lines.append, steps=2)
    assert reason in lines[-1]


def test_sentence_shows_weights_that_a_mask_should_have_excluded(tmp_path: Path) -> None:
    def leaky(q: torch.Tensor, k: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return reference.attention_weights(q, k)

    right = DEMO.draw_sentence(reference, tmp_path).read_bytes()
    assert DEMO.draw_sentence(reference, tmp_path).read_bytes() == right
    assert DEMO.draw_sentence(altered(attention_weights=leaky), tmp_path).read_bytes() != right


@pytest.mark.slow
@pytest.mark.parametrize("impl", [reference, given], ids=["reference", "given"])
def test_reversal_is_learnt_in_under_a_minute(impl: types.ModuleType, tmp_path: Path) -> None:
    lines: list[str] = []
    start = time.perf_counter()
    pictures = DEMO.run(impl, tmp_path, lines.append)
    assert time.perf_counter() - start < 60
    assert [path.name for path in pictures] == ["sentence.png", "reversal.png"]
    assert lines[-1].startswith("Learnt: ")
    assert float(lines[-1].split()[1].rstrip("%")) >= 99


@pytest.mark.slow
def test_reversal_is_not_learnt_without_attention(tmp_path: Path) -> None:
    lines: list[str] = []
    pictures = DEMO.run(altered(attention_weights=uniform_weights), tmp_path, lines.append)
    assert pictures[-1].name == "reversal-not-learnt.png"
    assert lines[-2].startswith("NOT learnt: ")
    assert float(lines[-2].split()[2].rstrip("%")) < 30
