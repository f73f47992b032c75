"""The short answers: two or three questions a module, each with a key and a rubric of four bands."""

import re
import tomllib
from pathlib import Path

import pytest

from grader.course import find_root, load_course

FOLDER = Path(__file__).resolve().parents[1] / "short_answers"
FILES = sorted(FOLDER.glob("*.toml"))


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_short_answers_have_a_key_and_four_bands(file: Path) -> None:
    data = tomllib.loads(file.read_text(encoding="utf-8"))
    assert set(data) == {"module", "question"}
    assert data["module"] == file.stem
    assert file.stem in load_course(find_root()).modules
    assert 2 <= len(data["question"]) <= 3
    for question in data["question"]:
        assert set(question) == {"text", "points", "key", "bands"}
        assert question["text"].strip()
        assert len(question["key"]) > 100
        heads = [re.match(r"(\d+)(?:-(\d+))?: .", band) for band in question["bands"]]
        assert len(heads) == 4
        reached = [(int(head[1]), int(head[2] or head[1])) for head in heads if head]
        given = [points for low, high in reached for points in range(low, high + 1)]
        assert sorted(given) == list(range(question["points"] + 1))  # every mark is in one band
