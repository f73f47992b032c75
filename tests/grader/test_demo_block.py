"""The demo of the block module: gradients of both kinds, and a training that only a working block survives."""

import importlib.util
import math
import struct
import types
from pathlib import Path

import pytest
import torch

pytest.importorskip("matplotlib")
from assignments.given import block as given
from reference import block as reference

ROOT = Path(__file__).resolve().parents[2]


def load(path: Path, name: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


DEMO = load(ROOT / "handouts" / "demos" / "block.py", "demo_block")


class Detached(reference.TransformerBlock):
    """A block whose input is cut off, so that nothing below it learns."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.detach())


class Broken(reference.TransformerBlock):
    """A block whose output is no number."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * math.nan


def with_block(block: object) -> types.SimpleNamespace:
    return types.SimpleNamespace(TransformerBlock=block, LayerNorm=reference.LayerNorm)


def unfinished(*_: object) -> None:
    raise NotImplementedError("Task 2.8")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The demo with few blocks."""
    for name, value in {"DEPTH": 3, "DRAWS": 1, "DEPTH_TRAINED": 2}.items():
        monkeypatch.setattr(DEMO, name, value)
    return DEMO


def test_run_writes_one_picture_and_names_the_unlearnt_one(small: types.ModuleType, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "depth.png").touch()  # of an earlier run, with another verdict
    lines: list[str] = []
    pictures = small.run(reference, tmp_path / "new", lines.append, steps=2)
    assert pictures == [tmp_path / "new" / "depth-not-learnt.png"]
    assert list((tmp_path / "new").iterdir()) == pictures
    head = pictures[0].read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    assert min(struct.unpack(">II", head[16:24])) > 800
    assert sum("NOT learnt" in line for line in lines) == 2
    assert "grader check block" in lines[-1]


def test_run_tells_the_same_whatever_the_global_state(small: types.ModuleType, tmp_path: Path) -> None:
    told: list[list[str]] = []
    threads = torch.get_num_threads()
    for seed in (1, 2):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        lines: list[str] = []
        small.run(reference, tmp_path, lines.append, steps=3)
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.get_num_threads() == threads
        told.append([line.rpartition("(")[0] for line in lines])  # the last bracket may hold the seconds
    assert told[0] == told[1]


def test_run_lets_an_unfinished_task_through(small: types.ModuleType, tmp_path: Path) -> None:
    with pytest.raises(NotImplementedError, match=r"Task 2\.8"):
        small.run(with_block(unfinished), tmp_path, lambda _: None, steps=1)


def test_run_says_where_the_gradient_ends(small: types.ModuleType, tmp_path: Path) -> None:
    lines: list[str] = []
    small.run(with_block(Detached), tmp_path, lines.append, steps=2)
    assert any("With pre-norm no gradient comes down to block 2: " in line for line in lines)


def test_training_ends_when_the_loss_is_no_number(small: types.ModuleType, tmp_path: Path) -> None:
    lines: list[str] = []
    pictures = small.run(with_block(Broken), tmp_path, lines.append, steps=5)
    assert "pre-norm: NOT learnt: no better than guessing (loss nan after 1 steps)." in lines
    assert [path.name for path in pictures] == ["depth-not-learnt.png"]


def test_gradients_of_post_norm_are_larger_by_about_the_root_of_the_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DEMO, "DRAWS", 1)
    with DEMO.one_thread():
        pre, post = (DEMO.gradient_sizes(given, norm) for norm in DEMO.NORMS)
    assert 4 < post[-1] / pre[-1] < 8  # sqrt(32) = 5.7
    assert 4 < pre[0] / pre[-1] < 8


@pytest.mark.slow
@pytest.mark.parametrize("impl", [reference, given], ids=["reference", "given"])
def test_pre_norm_learns_and_post_norm_does_not(impl: types.ModuleType, tmp_path: Path) -> None:
    lines: list[str] = []
    pictures = DEMO.run(impl, tmp_path, lines.append)
    assert [path.name for path in pictures] == ["depth.png"]
    assert lines[-2].startswith("pre-norm: learnt ")
    assert lines[-1].startswith("post-norm: NOT learnt: no better than guessing")
