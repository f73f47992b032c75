"""The questions and summaries about our own handouts: right, in the formats that they claim, and split honestly."""

import importlib.util
import json
import sys
import types
from pathlib import Path

import pytest

from reference import finetuning

HANDOUTS = Path(__file__).resolve().parents[2] / "handouts"
PAGE = """# Module {week}

### {week}.1 {first}
12 points · 45 minutes · calls nothing
- Use the `freedom` to shift: which one?
  Another line.

### {week}.2 {second}
8 points · 30 minutes · calls {week}.1
- Short. Then more.
"""


@pytest.fixture(scope="module")
def records() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("records_of_handouts", HANDOUTS / "demos" / "records.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """Eight small handouts of two tasks each."""
    for week, name in enumerate("abcdefgh", start=1):
        text = PAGE.format(week=week, first=f"{name}_one", second=f"{name}_two")
        (tmp_path / f"module_{name}.md").write_text(text, encoding="utf-8")
    return tmp_path


def test_tasks_are_read_from_the_heads_of_sections(records: types.ModuleType, pages: Path) -> None:
    tasks = records.tasks_of(pages)
    assert len(tasks) == 16
    assert tasks[0] == records.Task("module_a", "1.1", "a_one", "12", "45", "Use the freedom to shift:")
    assert tasks[3] == records.Task("module_b", "2.2", "b_two", "8", "30", "Short.")


def test_every_task_of_the_real_handouts_is_found(records: types.ModuleType) -> None:
    for page in HANDOUTS.glob("*.md"):
        heads = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("### ")]
        assert [f"### {t.number} {t.name}" for t in records.tasks_of(HANDOUTS) if t.module == page.stem] == heads


def test_same_handouts_give_the_same_files(records: types.ModuleType, pages: Path, tmp_path: Path) -> None:
    first, second = (records.write(tmp_path / name, pages) for name in ("first", "second"))
    assert set(first) == {f"{what}-{kind}" for what in ("questions", "summaries") for kind in ("train", "known", "new")}
    assert [path.read_bytes() for path in first.values()] == [path.read_bytes() for path in second.values()]


def test_answers_stand_where_the_records_say(records: types.ModuleType, tmp_path: Path) -> None:
    paths = records.write(tmp_path, HANDOUTS)
    found = [
        record for kind in ("train", "known", "new") for record in finetuning.read_records(paths[f"questions-{kind}"])
    ]
    assert len({record["id"] for record in found}) == len(found) > 200
    tasks = {task.name: task for task in records.tasks_of(HANDOUTS)}
    for record in found:
        (text,), (start,) = record["answers"]["text"], record["answers"]["answer_start"]
        assert record["context"][start : start + len(text)] == text
        named = [name for name in tasks if name in record["question"].rstrip("?").split()]
        assert text in {getattr(tasks[named[0]], what) for what in ("points", "minutes", "module")}


def test_summaries_tell_the_points_of_both_tasks(records: types.ModuleType, pages: Path, tmp_path: Path) -> None:
    found = finetuning.read_records(records.write(tmp_path / "out", pages)["summaries-train"])
    points = {task.name: task.points for task in records.tasks_of(pages)}
    assert found
    for record in found:
        said = [line.removesuffix(" points .").split(": ") for line in record["highlights"].split("\n")]
        assert [number for _, number in said] == [points[name] for name, _ in said]
        assert all(f"{name} is task" in record["article"] for name, _ in said)


def test_what_is_new_was_never_in_training(records: types.ModuleType, pages: Path, tmp_path: Path) -> None:
    paths = records.write(tmp_path / "out", pages)
    contexts = {name: path.read_text(encoding="utf-8") for name, path in paths.items()}
    new = {task.name for task in records.split_tasks(records.tasks_of(pages))["new"]}
    assert len(new) == 2
    for name in new:
        assert name not in contexts["questions-train"] + contexts["summaries-train"]
        assert name in contexts["questions-new"] + contexts["summaries-new"]


def test_texts_of_the_tests_are_not_those_of_training(records: types.ModuleType, tmp_path: Path) -> None:
    paths = records.write(tmp_path, HANDOUTS)
    for what, key in (("questions", "context"), ("summaries", "article")):
        train, known = (
            {record[key] for record in finetuning.read_records(paths[f"{what}-{k}"])} for k in ("train", "known")
        )
        assert train
        assert known
        assert not train & known


def test_files_are_in_the_published_formats(records: types.ModuleType, pages: Path, tmp_path: Path) -> None:
    paths = records.write(tmp_path / "out", pages)
    squad = json.loads(paths["questions-new"].read_text(encoding="utf-8"))
    assert set(squad) == {"version", "data"}
    assert set(squad["data"][0]) == {"title", "paragraphs"}
    assert set(squad["data"][0]["paragraphs"][0]["qas"][0]) == {"id", "question", "answers"}
    for line in paths["summaries-new"].read_text(encoding="utf-8").splitlines():
        assert set(json.loads(line)) == {"id", "article", "highlights"}
