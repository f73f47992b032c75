"""The demo of the gpt module: weights found, fetched or trained; loaded by the student's code; text and a picture."""

import importlib.util
import struct
import types
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("matplotlib")
from safetensors.torch import load_file, save_file

from assignments.given import gpt as given
from reference import gpt as reference

ROOT = Path(__file__).resolve().parents[2]


def load(path: Path, name: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


DEMO = load(ROOT / "handouts" / "demos" / "gpt.py", "demo_gpt")
SOURCE = DEMO.beside("gpt_weights")
TINY = SOURCE.Plan(context_length=12, d_model=64, n_layers=1, steps=2, batch=2)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with the small model in it."""
    folder = tmp_path_factory.mktemp("cache")
    SOURCE.find(lambda _: None, TINY, folder, "")
    return folder


def altered(**names: object) -> types.SimpleNamespace:
    """The reference with some names that mean something else."""
    return types.SimpleNamespace(**{**vars(reference), **names})


def run(impl: Any, tmp_path: Path, cache: Path) -> list[str]:
    lines: list[str] = []
    made = DEMO.run(impl, tmp_path / "new", lines.append, new_tokens=3, plan=TINY, cache=cache, wish="")
    assert [path.name for path in made] == ["gpt-distribution.png", "gpt-samples.txt"]
    assert all(path.exists() for path in made)
    return lines


def test_run_writes_text_and_a_picture(tmp_path: Path, cache: Path) -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    lines = run(reference, tmp_path, cache)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    head = (tmp_path / "new" / "gpt-distribution.png").read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    assert min(struct.unpack(">II", head[16:24])) > 600
    written = (tmp_path / "new" / "gpt-samples.txt").read_text(encoding="utf-8")
    assert [line for line in written.splitlines() if line.startswith("--- ")] == [f"--- {s}" for s in DEMO.SETTINGS]
    assert written.count(DEMO.PROMPTS[True]) == len(DEMO.SETTINGS)
    assert any(line.endswith("the same model") for line in lines)
    assert not any("trained" in line for line in lines)  # it was, before


def test_run_says_when_the_logits_are_other_ones(tmp_path: Path, cache: Path) -> None:
    class NoFinalNorm(reference.GPT):
        def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
            return self.lm_head(2 * self.features(token_ids))  # type: ignore[no-any-return]

    lines = run(altered(GPT=NoFinalNorm), tmp_path, cache)
    assert any("NOT the same model: `grader check gpt` says where to look" in line for line in lines)


def test_own_gpt_learns_where_a_kit_has_no_given_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = partial(SOURCE.given_gpt, tmp_path)
    assert missing() is None
    monkeypatch.setattr(DEMO, "beside", lambda _: SOURCE)
    monkeypatch.setattr(SOURCE, "given_gpt", missing)
    cache = tmp_path / "cache"
    lines = run(reference, tmp_path, cache)
    assert lines[0] == "The given GPT comes with the next week's kit: here your own learns."
    assert any("this kit has no given GPT to compare with" in line for line in lines)
    (kept,) = cache.iterdir()
    assert not any("trained" in line for line in run(reference, tmp_path, cache))  # it was, before
    monkeypatch.setattr(SOURCE, "source_of", lambda _: "changed since")
    assert any("trained" in line for line in run(reference, tmp_path, cache))
    assert [file for file in cache.iterdir() if file != kept] == list(cache.iterdir())


def test_small_model_is_trained_once_and_reproducibly(tmp_path: Path, cache: Path) -> None:
    said: list[str] = []
    SOURCE.find(said.append, TINY, cache, "")
    assert said == []
    again = SOURCE.find(said.append, TINY, tmp_path / "not there yet", "")
    assert any("held out" in line for line in said)
    (file,) = cache.glob("*.safetensors")
    assert {name: tensor.tolist() for name, tensor in load_file(file).items()} == {
        name: tensor.tolist() for name, tensor in again.state.items()
    }


def test_small_model_is_kept_in_the_published_layout(cache: Path) -> None:
    """transformers reads it, and gives the logits that ours gives."""
    transformers = pytest.importorskip("transformers")
    weights = SOURCE.find(lambda _: None, TINY, cache, "")
    sizes = {"vocab_size": 256, "n_positions": 12, "n_embd": 64, "n_head": 1, "n_layer": 1}
    oracle = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)).eval()
    oracle.transformer.load_state_dict(weights.state)
    token_ids = torch.tensor([weights.encode("def main():")])
    with torch.no_grad():
        torch.testing.assert_close(DEMO.load(given, weights)(token_ids), oracle(token_ids).logits, rtol=1e-4, atol=1e-5)


def test_weights_named_by_a_file_or_a_folder_are_taken(tmp_path: Path, cache: Path) -> None:
    (file,) = cache.glob("*.safetensors")
    state = {f"transformer.{name}": tensor for name, tensor in load_file(file).items()}
    save_file(state, tmp_path / "model.safetensors")
    for wish in (tmp_path, tmp_path / "model.safetensors"):
        weights = SOURCE.find(lambda _: None, TINY, tmp_path / "cache", str(wish))
        assert weights.sizes() == {
            "vocab_size": 256, "context_length": 12, "d_model": 64, "n_heads": 1, "n_layers": 1
        }  # fmt: skip
        assert weights.decode(weights.encode("né")) == "né"
    with pytest.raises(FileNotFoundError, match=r"GPT2 names .*absent, which is not there"):
        SOURCE.find(lambda _: None, TINY, tmp_path, str(tmp_path / "absent"))


def test_download_is_kept_whole_or_not_at_all(tmp_path: Path, cache: Path) -> None:
    (file,) = cache.glob("*.safetensors")
    target = tmp_path / "gpt2" / "model.safetensors"
    with pytest.raises(OSError, match="absent"):
        SOURCE.download(target, lambda _: None, (tmp_path / "absent").as_uri())
    assert not target.exists()
    SOURCE.download(target, lambda _: None, file.as_uri())
    assert target.read_bytes() == file.read_bytes()
    said: list[str] = []
    SOURCE.download(target, said.append, "file:///nowhere")  # it is there
    assert said == []
    assert SOURCE.find(said.append, TINY, tmp_path, "").sizes()["d_model"] == 64  # found without asking


def test_run_goes_on_without_a_network(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(file: Path, say: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(SOURCE, "download", no_network)
    said: list[str] = []
    assert SOURCE.find(said.append, TINY, cache, "download").name == "the small model"
    assert said == ["GPT-2 cannot be had from the network (no route to host), so without it:"]


def test_unfinished_task_shows_before_anything_is_trained(tmp_path: Path) -> None:
    def unfinished(*_: object) -> None:
        raise NotImplementedError("Task 3.11: load_gpt2_weights")

    impl, cache = altered(load_gpt2_weights=unfinished), tmp_path / "cache"
    with pytest.raises(NotImplementedError, match=r"Task 3\.11"):
        DEMO.run(impl, tmp_path, lambda _: None, plan=TINY, cache=cache, wish="")
    assert not cache.exists()
    with pytest.raises(SystemExit, match=r"GPT2 names .*absent"):
        DEMO.run(reference, tmp_path, lambda _: None, plan=TINY, cache=cache, wish=str(tmp_path / "absent"))


def test_text_cannot_command_the_terminal() -> None:
    assert DEMO.folded("a\x1b[2Jb\nc") == ["a�[2Jb", "c"]


@pytest.mark.slow
def test_small_model_learns_to_spell(tmp_path: Path) -> None:
    said: list[str] = []
    SOURCE.find(said.append, SOURCE.Plan(), tmp_path, "")
    assert float(said[-2].split()[2]) < 2.3  # bits a byte; a guess takes 8, the frequencies of single bytes 4.6
