"""course.toml is read strictly, each error is one line that says where and what; and its check files are found."""

import sys
from pathlib import Path

import pytest
import torch

from grader.checks import Grading, graded, gradients
from grader.collecting import collect_checks, hidden_rows, row_id, rows_of
from grader.course import Course, Policy, find_root, load_course
from grader.errors import BadRequest

ROOT = Path(__file__).resolve().parents[2]
GOOD = """
title = "Toy course"

[limits]
check_cpu_seconds = 3

[modules.toy]
week = 1
title = "Toy"
hours = 2.5

[modules.toy.tasks]
half = { points = 2, uses = [] }
scale = { points = 3, uses = ["half"] }
whole = { points = 1.5, uses = ["scale"] }

[modules.later]
week = 4
title = "Later"
hours = 1
upstream = ["toy"]
tasks.last = { points = 1, uses = [] }
"""


def read(folder: Path, text: str) -> Course:
    (folder / "course.toml").write_text(text, encoding="utf-8")
    return load_course(folder)


def problem(folder: Path, old: str, new: str) -> str:
    """What is said about the good course with one thing changed."""
    assert GOOD.count(old) == 1
    with pytest.raises(BadRequest) as error:
        read(folder, GOOD.replace(old, new))
    assert "\n" not in str(error.value)
    return str(error.value)


# --- the real course ---


def test_real_course_numbers_its_tasks_by_week_and_order() -> None:
    attention = load_course(ROOT).module("attention")
    assert attention.tasks["softmax"].number == "1.1"
    for module in load_course(ROOT).modules.values():
        numbers = [f"{module.week}.{i}" for i in range(1, len(module.tasks) + 1)]
        assert [task.number for task in module.tasks.values()] == numbers
        assert [task.name for task in module.tasks.values()] == list(module.tasks)


def test_real_course_has_a_reference_and_a_check_file_for_every_module() -> None:
    course = load_course(ROOT)
    for name in course.modules:
        files = course.check_files(name)
        assert files
        assert {course.module_of(file).name for file in files} == {name}
        assert course.source("reference", name) == (ROOT / "reference" / f"{name}.py").read_text(encoding="utf-8")


def test_below_follows_the_call_graph_to_its_end() -> None:
    attention = load_course(ROOT).module("attention")
    assert attention.below("softmax") == set()
    assert attention.below("scaled_dot_product_attention") == {"attention_weights", "softmax"}
    assert attention.below("MultiHeadAttention") == set(attention.tasks) - {"MultiHeadAttention"}


# --- a good course ---


def test_course_holds_what_the_file_says(tmp_path: Path) -> None:
    course = read(tmp_path, GOOD)
    toy = course.module("toy")
    assert (course.root, course.title, list(course.modules)) == (tmp_path, "Toy course", ["toy", "later"])
    assert (toy.name, toy.week, toy.hours, toy.points, toy.upstream, toy.forbidden) == ("toy", 1, 2.5, 6.5, [], [])
    assert course.module("later").upstream == ["toy"]
    assert course.module("later").tasks["last"].number == "4.1"
    assert toy.below("whole") == {"scale", "half"}


def test_limits_keep_their_defaults_where_the_file_is_silent(tmp_path: Path) -> None:
    limits = read(tmp_path, GOOD).limits
    assert (limits.check_cpu_seconds, limits.check_wall_seconds, limits.memory_mib) == (3, 10.0, 1024)


def test_dates_and_policy_may_be_left_out(tmp_path: Path) -> None:
    course = read(tmp_path, GOOD)
    assert (course.policy, course.module("toy").start, course.module("toy").due) == (None, "", "")


def test_dates_and_policy_are_what_the_file_says(tmp_path: Path) -> None:
    dated = GOOD.replace("hours = 2.5", 'hours = 2.5\nstart = 2026-10-01\ndue = "2026-10-01"')
    course = read(tmp_path, f"{dated}\n[policy]\nfunctionality = 70\nclarity = 30\nlate_days = 5\n")
    assert (course.module("toy").start, course.module("toy").due) == ("2026-10-01", "2026-10-01")
    assert course.policy == Policy(70, 30, late_days=5, late_days_a_module=0, late_percent=100)


def test_unknown_module_is_answered_with_the_nearest_one(tmp_path: Path) -> None:
    course = read(tmp_path, GOOD)
    with pytest.raises(BadRequest, match=r"^There is no module 'tyo'\. Did you mean 'toy'\?$"):
        course.module("tyo")
    with pytest.raises(BadRequest, match=r"^There is no module 'zzzz'\. Known: toy, later\.$"):
        course.module("zzzz")


# --- errors ---


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('title = "Toy course"', 'titel = "Toy"', "course.toml: unknown key 'titel'. Did you mean 'title'?"),
        (
            "check_cpu_seconds",
            "check_cpu_second",
            "course.toml [limits]: unknown key 'check_cpu_second'. Did you mean 'check_cpu_seconds'?",
        ),
        ("hours = 2.5", "hour = 2.5", "course.toml [modules.toy]: unknown key 'hour'. Did you mean 'hours'?"),
        (
            "points = 2,",
            "pionts = 2,",
            "course.toml [modules.toy] task half: unknown key 'pionts'. Did you mean 'points'?",
        ),
    ],
)
def test_unknown_key_is_answered_with_the_nearest_one(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert problem(tmp_path, old, new) == says


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("week = 1", 'week = "1"', "course.toml [modules.toy]: 'week' must be int, got '1'."),
        ("week = 1", "week = 1.5", "course.toml [modules.toy]: 'week' must be int, got 1.5."),
        ("week = 1", "week = true", "course.toml [modules.toy]: 'week' must be int, got True."),
        ("hours = 2.5", "hours = []", "course.toml [modules.toy]: 'hours' must be float, got []."),
        ('title = "Toy"\n', "title = 3\n", "course.toml [modules.toy]: 'title' must be str, got 3."),
        ("points = 2,", "points = true,", "course.toml [modules.toy] task half: 'points' must be float, got True."),
        ('uses = ["half"]', 'uses = "half"', "course.toml [modules.toy] task scale: 'uses' must be list, got 'half'."),
        ('upstream = ["toy"]', 'upstream = "toy"', "course.toml [modules.later]: 'upstream' must be list, got 'toy'."),
    ],
)
def test_wrong_type_is_told_with_the_value(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert problem(tmp_path, old, new) == says


@pytest.mark.parametrize(
    ("dates", "says"),
    [
        ('due = "1 October"', "'due' must be a date such as '2026-10-01', got '1 October'."),
        ('start = "20261001"', "'start' must be a date such as '2026-10-01', got '20261001'."),
        ('due = "2026-02-30"', "'due' must be a date such as '2026-10-01', got '2026-02-30'."),
        ("due = 1", "'due' must be str, got 1."),
        (
            'start = "2026-10-15"\ndue = "2026-10-01"',
            "'due' must not be before 'start', got 2026-10-01 and 2026-10-15.",
        ),
    ],
)
def test_date_that_is_none_is_told_with_the_value(tmp_path: Path, dates: str, says: str) -> None:
    at = "course.toml [modules.toy]: "
    assert problem(tmp_path, "hours = 2.5", f"hours = 2.5\n{dates}") == at + says


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ("functionality = 70\nclarity = 20", "'functionality' and 'clarity' must sum to 100, got 70 and 20."),
        ("functionality = 110\nclarity = -10", "'clarity' must be 0 or more, got -10."),
        ("functionality = 70\nclarity = 30\nlate_days = -1", "'late_days' must be 0 or more, got -1."),
        ("functionality = 70\nclarity = 30\nlate_percent = 101", "'late_percent' must be at most 100, got 101."),
        ("functionality = 70", "'clarity' is missing."),
        (
            "functionality = 70\nclarity = 30\nlate_day = 1",
            "unknown key 'late_day'. Did you mean 'late_days'?",
        ),
    ],
)
def test_policy_that_makes_no_sense_is_told_with_the_values(tmp_path: Path, policy: str, says: str) -> None:
    told = problem(tmp_path, "[limits]", f"[policy]\n{policy}\n\n[limits]")
    assert told == f"course.toml [policy]: {says}"


def test_title_of_the_course_must_be_text(tmp_path: Path) -> None:
    assert "'title' must be str, got 3" in problem(tmp_path, 'title = "Toy course"', "title = 3")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "course.toml: the table 'modules' is missing or empty."),
        ("modules = 3", "course.toml: the table 'modules' is missing or empty."),
        (
            '[modules.toy]\nweek = 1\ntitle = "Toy"\nhours = 2',
            "course.toml [modules.toy]: the table 'tasks' is missing or empty.",
        ),
    ],
)
def test_missing_table_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(BadRequest) as error:
        read(tmp_path, text)
    assert str(error.value) == says


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("[limits]\ncheck_cpu_seconds = 3", "limits = 3", "limits"),
        ("[modules.later]", "[modules]\nwrong = 4\n\n[modules.later]", "wrong"),
        ("half = { points = 2, uses = [] }", "half = 2", "half"),
    ],
)
def test_value_where_a_table_belongs_is_one_clear_line(tmp_path: Path, old: str, new: str, where: str) -> None:
    assert where in problem(tmp_path, old, new)


@pytest.mark.parametrize(
    ("old", "new", "where", "missing"),
    [
        ("week = 1", "", "course.toml [modules.toy]: ", "'week'"),
        ("points = 2,", "", "course.toml [modules.toy] task half: ", "'points'"),
        ("hours = 2.5", "", "course.toml [modules.toy]: ", "'hours'"),
    ],
)
def test_missing_key_is_named_with_its_table(tmp_path: Path, old: str, new: str, where: str, missing: str) -> None:
    says = problem(tmp_path, old, new)
    assert says.startswith(where)
    assert "missing" in says
    assert missing in says


def test_unknown_use_is_answered_with_the_nearest_task(tmp_path: Path) -> None:
    says = problem(tmp_path, 'uses = ["half"]', 'uses = ["hafl"]')
    at = "course.toml [modules.toy] task scale: "
    assert says == f"{at}uses 'hafl', which is not a task listed above it. Did you mean 'half'?"


@pytest.mark.parametrize("used", ["whole", "scale"])
def test_task_may_only_use_tasks_above_it(tmp_path: Path, used: str) -> None:
    says = problem(tmp_path, 'uses = ["half"]', f'uses = ["{used}"]')
    assert says.startswith(f"course.toml [modules.toy] task scale: uses '{used}', which is not a task listed above it.")


def test_uses_that_are_not_names_are_one_clear_line(tmp_path: Path) -> None:
    assert "course.toml [modules.toy] task scale: " in problem(tmp_path, 'uses = ["half"]', "uses = [1]")


def test_broken_toml_is_told_with_the_path_and_the_line(tmp_path: Path) -> None:
    says = problem(tmp_path, "week = 1", "week = ")
    assert says.startswith(f"{tmp_path / 'course.toml'}: Invalid value")
    assert "line 8" in says


def test_file_that_is_not_text_is_told_with_the_path(tmp_path: Path) -> None:
    (tmp_path / "course.toml").write_bytes(b"title = '\xff'")
    with pytest.raises(BadRequest, match=r"course\.toml: 'utf-8' codec can't decode"):
        load_course(tmp_path)


# --- the course folder ---


def test_find_root_takes_the_nearest_folder_upwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "inner" / "deep"
    inner.mkdir(parents=True)
    (tmp_path / "course.toml").touch()
    assert find_root(inner) == tmp_path
    (tmp_path / "inner" / "course.toml").touch()
    monkeypatch.chdir(inner)
    assert find_root() == tmp_path / "inner"


def test_find_root_falls_back_on_the_checkout(tmp_path: Path) -> None:
    assert find_root(tmp_path) == ROOT


def test_find_root_says_where_it_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grader.course.__file__", str(tmp_path / "site-packages" / "grader" / "course.py"))
    with pytest.raises(BadRequest) as error:
        find_root(tmp_path)
    assert str(error.value) == f"No course.toml in {tmp_path} or above it. Go to the course folder and try again."


# --- the check files of a course ---


@graded("half", weight=2, rows=[{"size": 3}, {"size": 4}], pins="dtypes")
def sample(impl, rng, size):  # type: ignore[no-untyped-def]
    """half gives x / 2.

    More for authors.
    """


def test_graded_keeps_the_function_and_adds_what_it_knows() -> None:
    assert sample.graded == Grading("half", 2, ({"size": 3}, {"size": 4}), "dtypes", None, False)
    assert sample.__name__ == "sample"


def test_rows_of_puts_hidden_rows_after_public_ones(tmp_path: Path) -> None:
    assert [name for name, _ in rows_of(sample, tmp_path / "check_toy.py")] == ["1", "2"]
    (tmp_path / "hidden_toy.toml").write_text("sample = [{ size = 9 }]\nother = [{ size = 8 }]")
    rows = rows_of(sample, tmp_path / "check_toy.py")
    assert rows == [("1", {"size": 3}), ("2", {"size": 4}), ("hidden-1", {"size": 9})]


def test_hidden_file_that_does_not_parse_is_named(tmp_path: Path) -> None:
    path = tmp_path / "hidden_toy.toml"
    path.write_text("sample = [")
    with pytest.raises(BadRequest, match=r"hidden_toy\.toml: Invalid value"):
        hidden_rows(tmp_path / "check_toy.py")


def test_row_id_carries_the_first_sentence_and_the_arguments() -> None:
    row = row_id("sample[2]", sample, {"size": 4, "kind": "a"})
    assert (row.name, row.check, row.task, row.weight, row.pins) == ("sample[2]", "sample", "half", 2, "dtypes")
    assert (row.sentence, row.arguments, row.hidden) == ("half gives x / 2.", "size=4, kind='a'", False)
    assert row_id("sample[hidden-1]", sample, {}).hidden


def test_collect_checks_finds_every_row_in_file_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # as in the process that collects
    (tmp_path / "hidden_collected_toy.toml").write_text("check_half = [{ size = 9 }]")
    (tmp_path / "check_collected_toy.py").write_text(
        "from grader import graded\n\n"
        "@graded('half', rows=[{'size': 3}])\ndef check_half(impl, rng, size):\n    '''It halves.'''\n"
        "    return size\n\n"
        "@graded('aim')\ndef check_aim(impl):\n    '''It aims.'''\n\n"
        "def check_without_a_mark():\n    pass\n"
    )
    found = collect_checks([tmp_path / "check_collected_toy.py"])
    monkeypatch.delitem(sys.modules, "check_collected_toy", raising=False)
    assert [check.row.name for check in found] == ["check_half[1]", "check_half[hidden-1]", "check_aim"]
    assert [check.arguments for check in found] == [{"size": 3}, {"size": 9}, {}]
    assert found[0].function(None, None, 5) == 5


def test_collect_checks_runs_no_conftest_of_a_student(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    folder = tmp_path / "tests" / "checks"
    folder.mkdir(parents=True)
    for place in (tmp_path, folder):
        (place / "conftest.py").write_text("raise RuntimeError('it ran')\n")
    path = folder / "check_beside_conftest_toy.py"
    path.write_text(
        "from grader import graded\n\n@graded('aim')\ndef check_aim(impl):\n    '''It aims.'''\n    return 1\n"
    )
    assert [check.row.name for check in collect_checks([path])] == ["check_aim"]
    monkeypatch.delitem(sys.modules, "check_beside_conftest_toy", raising=False)


def test_collect_checks_says_why_a_file_cannot_be_collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    path = tmp_path / "check_broken_toy.py"
    path.write_text("import nothing_of_that_name\n")
    with pytest.raises(BadRequest, match=r"(?s)check_broken_toy\.py cannot be collected.*nothing_of_that_name"):
        collect_checks([path])


def test_gradients_are_those_of_the_weighted_sum() -> None:
    x, y = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([3.0, 4.0], requires_grad=True)
    found = gradients(x * y, torch.tensor([10.0, 100.0]), x=x, y=y)
    assert {name: tensor.tolist() for name, tensor in found.items() if tensor is not None} == {
        "output": [3.0, 8.0],
        "gradient of x": [30.0, 400.0],
        "gradient of y": [10.0, 200.0],
    }


def test_gradients_are_none_where_none_arrives() -> None:
    x, y = torch.tensor([1.0], requires_grad=True), torch.tensor([3.0], requires_grad=True)
    assert gradients(2 * x, torch.ones(1), y=y)["gradient of y"] is None
    detached = gradients((x * y).detach(), torch.ones(1), x=x, y=y)
    assert (detached["gradient of x"], detached["gradient of y"]) == (None, None)


@pytest.mark.parametrize("output", [None, "no", [torch.ones(1)]], ids=["none", "text", "list"])
def test_gradients_of_what_is_no_tensor_keep_the_output_and_raise_nothing(output: object) -> None:
    x = torch.tensor([1.0], requires_grad=True)
    assert gradients(output, torch.ones(1), x=x) == {"output": output, "gradient of x": None}  # type: ignore[arg-type]
