"""`pytest tests/checks --impl PATH` behaves as a pytest user expects."""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]


def run_pytest(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pytest", "tests/checks", "-q", "-p", "no:cacheprovider", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)


def test_selection_of_a_submission_is_graded_into_junit_xml(tmp_path: Path) -> None:
    source = (ROOT / "reference" / "attention.py").read_text(encoding="utf-8")
    impl = tmp_path / "kim.py"
    impl.write_text(source.replace("exps.sum(dim=dim, keepdim=True)", "exps.sum(dim=-1, keepdim=True)"))
    done = run_pytest("--impl", impl, "-k", "softmax", f"--junitxml={tmp_path / 'x.xml'}")
    assert done.returncode == 1
    assert "This is exactly the output of a known mistake:" in done.stdout
    assert "Traceback" not in done.stdout
    suite = ElementTree.parse(tmp_path / "x.xml").getroot()[0]
    names = [case.attrib["name"] for case in suite]
    assert "check_softmax_values[1]" in names
    assert "check_softmax_values[hidden-1]" in names
    assert all("softmax" in name for name in names)
    failed = {case.attrib["name"] for case in suite if case.find("failure") is not None}
    assert "check_softmax_values[2]" in failed
    assert "check_softmax_values[1]" not in failed


def test_missing_implementation_is_a_usage_error() -> None:
    done = run_pytest("--impl", "nowhere.py", "-k", "softmax_values")
    assert done.returncode == 4
    assert "There is no 'nowhere.py'." in done.stdout + done.stderr


def test_text_of_a_file_that_does_not_import_is_made_safe(tmp_path: Path) -> None:
    impl = tmp_path / "kim.py"
    impl.write_text('raise ValueError("\\x1b[31m\\u202e red")\n')
    done = run_pytest("--impl", impl, "-k", "softmax_values")
    assert "ValueError:  red" in done.stdout
    assert "\x1b[31m" not in done.stdout
    assert "\u202e" not in done.stdout


def test_first_failure_stops_with_x(tmp_path: Path) -> None:
    impl = tmp_path / "kim.py"
    impl.write_text("import torch\n")
    done = run_pytest("--impl", impl, "-x")
    assert done.returncode == 1
    assert "1 failed" in done.stdout
    assert "softmax is not defined in your file." in done.stdout
