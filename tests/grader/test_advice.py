"""What a student is told of a file before its results, sentence by sentence."""

from pathlib import Path

import pytest

from grader.advice import advise, hides, hiding, left_behind, prints
from grader.course import load_course


def texts(folder: Path, raw: bytes | None = None) -> list[str]:
    course = load_course(folder)
    path = folder / "assignments" / "attention.py"
    if raw is not None:
        path.write_bytes(raw)
    source = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    return [one.text for one in advise(course, course.module("attention"), path, source)]


def stub(folder: Path) -> bytes:
    return (folder / "assignments" / "attention.py").read_bytes()


def test_stub_as_shipped_needs_no_advice(folder: Path) -> None:
    assert texts(folder) == []


def test_byte_order_mark_is_told(folder: Path) -> None:
    text = "attention.py begins with a byte order mark (BOM). It is read without it; save as plain UTF-8."
    assert texts(folder, b"\xef\xbb\xbf" + stub(folder)) == [text]


def test_windows_line_ends_are_told(folder: Path) -> None:
    crlf = stub(folder).replace(b"\n", b"\r\n")
    assert texts(folder, crlf) == [
        "attention.py has Windows line ends, CR LF. That does no harm; line numbers are the same."
    ]


def test_mixed_line_ends_are_told(folder: Path) -> None:
    mixed = stub(folder).replace(b"\n", b"\r\n", 3)
    assert texts(folder, mixed) == [
        "attention.py has some lines with CR LF. That does no harm; line numbers are the same."
    ]


@pytest.mark.parametrize(
    ("name", "what"),
    [("torch.py", "the real torch"), ("random.py", "Python's own random"), ("numpy.py", "the real numpy")],
)
def test_file_that_hides_a_module_is_told(folder: Path, name: str, what: str) -> None:
    (folder / "assignments" / name).write_text("")
    assert texts(folder) == [f"assignments/{name} hides {what} from every file beside it: rename it."]


def test_package_that_hides_a_module_is_told(tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    assert hiding(tmp_path) == []  # a folder alone hides nothing
    (tmp_path / "torch" / "__init__.py").write_text("")
    assert hiding(tmp_path) == ["torch"]
    assert hides("torch", "here") == "here/torch hides the real torch from every file beside it: rename it."


def test_notebook_beside_the_file_is_told(folder: Path) -> None:
    (folder / "assignments" / "attention.ipynb").write_text("{}")
    assert texts(folder) == ["attention.ipynb lies beside attention.py: only attention.py is checked."]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (
            "torch.manual_seed(1)",
            "torch.manual_seed seeds torch for the whole program; use torch.Generator().manual_seed(…) and pass it on.",
        ),
        (
            "torch.set_default_dtype(torch.float64)",
            "torch.set_default_dtype changes the dtype of every new tensor of the program; "
            "pass dtype= where you make one.",
        ),
        (
            "np.random.seed(1)",
            "numpy.random.seed seeds numpy for the whole program; use numpy.random.default_rng(seed).",
        ),
        (
            "random.seed(1)",
            "random.seed seeds Python's random for the whole program; use an instance, random.Random(seed).",
        ),
    ],
)
def test_setting_left_behind_is_told_with_its_line(line: str, text: str) -> None:
    source = f"import random\nimport numpy as np\nimport torch\n\ndef f():\n    {line}\n"
    assert left_behind(source, "attention.py") == [f"attention.py:6: {text}"]


def test_setting_in_the_main_part_is_nobodys_business() -> None:
    assert left_behind('import torch\nif __name__ == "__main__":\n    torch.manual_seed(1)\n', "a.py") == []


def test_own_generator_is_no_global_setting() -> None:
    assert left_behind("import torch\ng = torch.Generator().manual_seed(1)\n", "a.py") == []


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("def f(x):\n    print(x)\n    return x\n", "a.py prints (line 2). "),
        ("print(1)\n\ndef f(x):\n    print(x); print(1)\n", "a.py prints (lines 1, 4). "),
    ],
)
def test_print_left_in_the_code_is_told_with_its_line(source: str, text: str) -> None:
    assert prints(source, "a.py") == [f"{text}It costs nothing; take it out before you hand in."]


@pytest.mark.parametrize(
    "source", ['if __name__ == "__main__":\n    print(1)\n', "x.print()\n", "def f(:", "printed = 1\n"]
)
def test_file_that_does_not_print_gets_no_remark(source: str) -> None:
    assert prints(source, "a.py") == []


def test_text_that_does_not_parse_gets_no_advice_here() -> None:
    assert left_behind("def f(:", "a.py") == []
