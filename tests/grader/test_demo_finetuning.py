"""The demo of the finetuning module: whole on tiny sizes; on the real ones, both tasks learnt and little forgotten."""

import importlib.util
import struct
import sys
import types
from pathlib import Path

import pytest
import torch

pytest.importorskip("matplotlib")
from assignments.given import finetuning as given
from reference import finetuning as reference

ROOT = Path(__file__).resolve().parents[2]
TINY = {
    "old_characters": 20_000,
    "vocab_size": 300,
    "tokenizer_characters": 2_000,
    "d_model": 8,
    "n_heads": 2,
    "threads": 1,
}
SHORT = {"n_layers": 1, "base_steps": 2, "tune_steps": 2, "batch": 2, "window": 16, "questions": 1, "summaries": 1}


def load(path: Path, name: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


DEMO = load(ROOT / "handouts" / "demos" / "finetuning.py", "demo_finetuning_in_a_test")


def test_run_tells_the_whole_story_on_tiny_sizes(tmp_path: Path) -> None:
    lines: list[str] = []
    state = torch.get_rng_state()
    (picture,) = DEMO.run(reference, tmp_path, lines.append, DEMO.Plan(**TINY | SHORT))
    assert torch.equal(torch.get_rng_state(), state)
    head = picture.read_bytes()[:24]
    assert picture.name == "forgetting.png"
    assert head.startswith(b"\x89PNG")
    assert min(struct.unpack(">II", head[16:24])) > 500
    told = "\n".join(lines)
    for part in ("before", "after", "without replay", "questions, new: exact match", "old text: perplexity"):
        assert part in told
    answers = {
        name: [line for line in lines if line.startswith(f"{name:>11}: ")] for name in ("base", "tuned", "merged")
    }
    assert [len(found) for found in answers.values()] == [3, 3, 3]
    assert lines[-2].startswith("Merged and tuned logits differ by at most ")
    assert float(lines[-2].split()[8].rstrip(";")) < 1e-4


def test_unfinished_task_shows_before_anything_is_trained(tmp_path: Path) -> None:
    def unfinished(*_: object) -> None:
        raise NotImplementedError("Task 6.16: bleu")

    impl = load(ROOT / "assignments" / "given" / "finetuning.py", "assignments.given.undone_in_a_test")
    vars(impl)["bleu"] = unfinished
    lines: list[str] = []
    with pytest.raises(NotImplementedError, match=r"Task 6\.16"):
        DEMO.run(impl, tmp_path, lines.append)
    assert lines == []


@pytest.mark.slow
def test_both_tasks_are_learnt_and_replay_keeps_the_old_text(tmp_path: Path) -> None:
    tables = []
    tell = DEMO.tell
    DEMO.tell = lambda table, world, say: (tables.append(table), tell(table, world, say))
    DEMO.run(given, tmp_path, lambda _: None)
    before, after, alone = (tables[0][name] for name in ("before", "after", "without replay"))
    assert before["questions, known: exact match"] <= 5
    assert after["questions, known: exact match"] >= 20
    assert after["summaries, known: ROUGE-L"] >= 25
    assert before["old text: perplexity"] < after["old text: perplexity"] < 1.4 * before["old text: perplexity"]
    assert alone["old text: perplexity"] > 2 * after["old text: perplexity"]
