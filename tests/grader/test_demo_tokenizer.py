"""The demo of the tokenizer module: a paragraph cut three times, and what is said of what is slow or wrong."""

import importlib
import struct
import sys
import types
from itertools import pairwise
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")
from assignments.given import tokenizer as given
from reference import tokenizer as reference

DEMOS = Path(__file__).resolve().parents[2] / "handouts" / "demos"
SIZES = (256, 280, 330)
TEXT = "the rare word and the often used word, a function of the token; " * 20
BOTH = pytest.mark.parametrize("impl", [reference, given], ids=["reference", "given"])


@pytest.fixture(scope="module")
def demo() -> types.ModuleType:
    sys.path.insert(0, str(DEMOS))
    try:
        return importlib.import_module("tokenizer")
    finally:
        sys.path.remove(str(DEMOS))
        sys.modules.pop("tokenizer", None)


@pytest.fixture(autouse=True)
def short(demo: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shorter paragraph, since drawing takes its time."""
    monkeypatch.setattr(demo, "PARAGRAPH", "The often used word is naïve.")


def altered(**names: object) -> types.ModuleType:
    """The reference with some names meaning something else."""
    impl = types.ModuleType("altered")
    vars(impl).update({**vars(reference), **names})
    return impl


@BOTH
def test_run_draws_three_cuts_and_tells_them(demo: types.ModuleType, impl: types.ModuleType, tmp_path: Path) -> None:
    lines: list[str] = []
    (picture,) = demo.run(impl, tmp_path / "new", lines.append, SIZES, TEXT)
    head = picture.read_bytes()[:24]
    assert picture.name == "tokens.png"
    assert head.startswith(b"\x89PNG")
    assert min(struct.unpack(">II", head[16:24])) > 500
    cuts = [line.split() for line in lines if line.split()[:1] in (["256"], ["280"], ["330"])]
    assert cuts[0][1:] == [str(len(demo.PARAGRAPH.encode())), "1.00"]
    assert int(cuts[0][1]) > int(cuts[1][1]) > int(cuts[2][1])
    assert lines[-1] == "Decoding the ids gives the paragraph again, byte for byte."


def test_run_says_when_the_paragraph_does_not_come_back(demo: types.ModuleType, tmp_path: Path) -> None:
    class Deaf(reference.Tokenizer):
        def encode(self, text: str) -> list[int]:
            return super().encode(text.replace(" ", ""))

    lines: list[str] = []
    (picture,) = demo.run(altered(Tokenizer=Deaf), tmp_path, lines.append, SIZES, TEXT)
    assert picture.exists()
    wrong = [line for line in lines if line.startswith("NOT right: with ")]
    assert len(wrong) == 3
    assert "'Theoftenusedwordisnaïve.'" in wrong[0]


def test_run_drops_the_picture_of_an_earlier_run_and_lets_an_unfinished_task_through(
    demo: types.ModuleType, tmp_path: Path
) -> None:
    def unfinished(*_: object) -> None:
        raise NotImplementedError("Task 4.8")

    (tmp_path / "tokens.png").touch()
    lines: list[str] = []
    with pytest.raises(NotImplementedError, match=r"Task 4\.8"):
        demo.run(altered(Tokenizer=unfinished), tmp_path, lines.append)
    assert lines == []
    assert list(tmp_path.iterdir()) == []


def test_slow_training_gets_less_to_do_and_is_told(demo: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "SMALL_TEXT", len(TEXT))
    seconds = iter([0.0, 1.0, 1.0, 31.0])
    monkeypatch.setattr(demo.time, "process_time", lambda: next(seconds))
    lines: list[str] = []
    assert demo.affordable(reference, TEXT * 2, lines.append) == (TEXT, demo.SMALLER)
    assert lines[0] == "400 merges take 30 times as long as one: train_bpe counts everything anew for each."


def test_fast_training_gets_everything(demo: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([0.0, 1.0, 1.0, 4.0])
    monkeypatch.setattr(demo.time, "process_time", lambda: next(seconds))
    lines: list[str] = []
    assert demo.affordable(reference, TEXT, lines.append) == (TEXT, demo.SIZES)
    assert lines == []


@pytest.mark.parametrize(
    ("token", "signs"),
    [
        (b" the", ["·", "t", "h", "e"]),
        (b"\r\n", ["0d", "0a"]),
        ("é".encode(), ["é"]),
        (b"\xc3", ["c3"]),
        ("é".encode() + b"\xc3", ["c3", "a9", "c3"]),
        (b"", []),
    ],
)
def test_shown_is_readable_whatever_the_token(demo: types.ModuleType, token: bytes, signs: list[str]) -> None:
    assert demo.shown(token) == signs


def test_boxes_keep_to_their_lines_and_do_not_overlap(demo: types.ModuleType) -> None:
    boxes = demo.lay_out([b"token", b" \xc3", b"x"] * 40)
    assert [box.signs for box in boxes[:3]] == [list("token"), ["20", "c3"], ["x"]]
    for one, other in pairwise(boxes):
        assert other.left > one.left + one.width or (other.line, other.left) == (one.line + 1, 0)
    assert all(box.left + box.width <= demo.COLUMNS for box in boxes)


@pytest.mark.slow
@pytest.mark.parametrize("impl", [reference, given], ids=["reference", "given"])
def test_demo_runs_on_the_default_corpus(demo: types.ModuleType, impl: types.ModuleType, tmp_path: Path) -> None:
    lines: list[str] = []
    demo.run(impl, tmp_path, lines.append)
    assert any("counts everything anew" in line for line in lines) == (impl is given)
    sizes = demo.SMALLER if impl is given else demo.SIZES
    assert [line.split()[0] for line in lines if line.split()[0].replace(",", "").isdigit()][-3:] == [
        f"{size:,}" for size in sizes
    ]
    assert lines[-1] == "Decoding the ids gives the paragraph again, byte for byte."
