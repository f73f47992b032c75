"""A package from source texts: relative imports, tracebacks with lines, and nothing left behind."""

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Iterator

import pytest

from grader.loading import SourceFinder, forget, load

PACKAGE = "toy_package"


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Each test starts and ends without the package."""
    finders = list(sys.meta_path)
    yield
    forget(PACKAGE)
    assert sys.meta_path == finders


def toy(module: str = "main", **sources: str):  # type: ignore[no-untyped-def]
    return load({f"{name}.py": text for name, text in sources.items()}, module, PACKAGE)


def test_module_runs_from_its_source_text() -> None:
    main = toy(main="VALUE = 6 * 7\n")
    assert main.VALUE == 42
    assert main.__name__ == f"{PACKAGE}.main"
    assert main.__file__ == f"{PACKAGE}/main.py"
    assert not os.path.exists(main.__file__)


def test_package_is_named_assignments_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    module = load({"attention.py": "def softmax(): ...\n"}, "attention")
    assert module.__name__ == "assignments.attention"
    assert sys.modules["assignments.attention"] is module


def test_relative_and_absolute_imports_reach_the_other_modules() -> None:
    main = toy(
        main="from .other import VALUE\nfrom . import other\nimport toy_package.other as again\n",
        other="VALUE = object()\n",
    )
    assert main.VALUE is main.other.VALUE
    assert main.other is main.again


def test_module_that_is_not_among_the_sources_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'toy_package\.secret'$"):
        toy(main="from .secret import answer\n")
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'toy_package\.absent'$"):
        toy("absent", main="")


def test_package_of_source_texts_hides_one_of_that_name_on_the_path(
    tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = os.path.join(tmp_path, PACKAGE)
    os.mkdir(folder)
    for name in ("__init__.py", "other.py"):
        with open(os.path.join(folder, name), "w") as file:
            file.write("VALUE = 'from disk'\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert importlib.import_module(f"{PACKAGE}.other").VALUE == "from disk"
    assert toy("other", other="VALUE = 'from text'\n").VALUE == "from text"
    with pytest.raises(ModuleNotFoundError, match="other"):
        toy(main="from .other import VALUE\n")


def test_traceback_shows_the_lines_of_the_source() -> None:
    main = toy(main="def divide(x):\n    # by what?\n    return x / 0\n")
    with pytest.raises(ZeroDivisionError) as error:
        main.divide(1)
    frame = traceback.extract_tb(error.value.__traceback__)[-1]
    assert (frame.filename, frame.lineno, frame.name) == (f"{PACKAGE}/main.py", 3, "divide")
    assert frame.line == "return x / 0"


def test_traceback_after_a_reload_shows_the_new_lines() -> None:
    toy(main="def divide(x):\n    return x // 0\n")
    main = toy(main="def divide(x):\n    return x % 0\n")
    with pytest.raises(ZeroDivisionError) as error:
        main.divide(1)
    assert traceback.extract_tb(error.value.__traceback__)[-1].line == "return x % 0"


def test_source_of_a_function_can_be_inspected() -> None:
    text = "def half(x):\n    return x / 2\n"
    assert inspect.getsource(toy(main=f"import math\n\n{text}").half) == text


def test_syntax_error_names_the_file_and_the_line() -> None:
    with pytest.raises(SyntaxError) as error:
        toy(main="x = 1\ny = (1,\n")
    assert (error.value.filename, error.value.lineno) == (f"{PACKAGE}/main.py", 2)


def test_module_that_raises_while_it_is_imported_can_be_loaded_again() -> None:
    with pytest.raises(RuntimeError, match="half way"):
        toy(main="raise RuntimeError('half way')\n")
    assert f"{PACKAGE}.main" not in sys.modules
    assert toy(main="VALUE = 1\n").VALUE == 1


def test_future_imports_of_the_grader_are_not_inherited() -> None:
    assert toy(main="def f(x: 1 + 1): ...\n").f.__annotations__ == {"x": 2}


def test_load_forgets_the_earlier_package_whole() -> None:
    toy(main="from . import other\n", other="VALUE = 1\n")
    with pytest.raises(ImportError, match="other"):
        toy(main="from . import other\n")


def test_two_packages_stand_side_by_side() -> None:
    one = toy(main="VALUE = 1\n")
    other = load({"main.py": "VALUE = 2\n"}, "main", "toy_package_given")
    assert (one.VALUE, other.VALUE) == (1, 2)
    forget("toy_package_given")
    assert importlib.import_module(f"{PACKAGE}.main") is one


def test_forget_drops_the_modules_and_the_finder() -> None:
    toy(main="from . import other\n", other="")
    forget(PACKAGE)
    assert not [name for name in sys.modules if name.startswith(PACKAGE)]
    assert not [finder for finder in sys.meta_path if isinstance(finder, SourceFinder) and finder.package == PACKAGE]
    with pytest.raises(ModuleNotFoundError, match=PACKAGE):
        importlib.import_module(f"{PACKAGE}.main")


def test_finder_leaves_every_other_import_alone() -> None:
    finder = SourceFinder(PACKAGE, {"main.py": "VALUE = 1\n"})
    assert finder.find_spec("toy_package_more", None) is None
    assert finder.find_spec("main", None) is None
    assert finder.get_source(f"{PACKAGE}.main") == "VALUE = 1\n"
    assert finder.get_source(f"{PACKAGE}.absent") is None
