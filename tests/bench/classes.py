"""The classes that the benchmark grades: copies of the ordinary sample submissions."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import rival
from .clock import Timed, timed

if TYPE_CHECKING:
    from grader.collect import Submission

STAND_INS = ("tests/styles/attention/einsum.py", "assignments/attention.py", "reference/attention.py")
ENDLESS = '\n\ndef softmax(x, dim):\n    """Never comes back."""\n    while True:\n        pass\n'


@dataclass(frozen=True)
class Sample:
    """The source of one submission and the score that the grader gives it."""

    name: str
    source: str
    score: float


def grader() -> list[str]:
    """The command as it is installed beside this Python."""
    script = Path(sys.executable).with_name("grader")
    return [str(script)] if script.exists() else [sys.executable, "-m", "grader"]


def grade(root: Path, submissions: Path, out: Path, *more: str, **options: Any) -> Timed:
    """`grader grade` as a whole process; a run that does not end with 0 ends the benchmark."""
    found = timed([*grader(), "grade", "attention", submissions, "-o", out, *more], cwd=root, **options)
    if found.code != 0:
        raise SystemExit(f"grader grade ended with {found.code}:\n{found.said[-2000:]}")
    return found


def ordinary(root: Path, folder: Path, plain: Path) -> tuple[list[Sample], list[str]]:
    """The samples that import and end and do not flood, and the names of those left out.

    Found by running each once: what a limit stopped is no ordinary submission, and the rival could not run it. One that
    prints a gigabyte would cost the rival, which keeps it all, far more than it costs us.
    """
    from grader.collect import collect

    place = root / "tests" / "submissions" / "attention"
    if not place.is_dir() or not any(place.iterdir()):
        place = folder / "stand-ins"
        place.mkdir()
        for file in STAND_INS:
            (place / f"{file.replace('/', '-')}").write_text((root / file).read_text(encoding="utf-8"))
    grade(root, place, folder / "looked-at")
    kept, left_out = [], []
    for submission in collect(place, "attention"):
        record = json.loads((folder / "looked-at" / submission.name / "attention.json").read_text(encoding="utf-8"))
        if _ends(record) and not rival.floods(plain, _written(submission, folder)):
            kept.append(Sample(submission.name, submission.files["attention.py"], record["score"]))
        else:
            left_out.append(submission.name)
    return kept, left_out


def _ends(record: dict[str, Any]) -> bool:
    """Whether a submission was imported and ended every check by itself."""
    stopped = {"timeout", "crashed"} & {check["status"] for check in record["checks"]}
    return record["status"] == "graded" and not stopped


def _written(submission: "Submission", folder: Path) -> Path:
    """The source as a file of its own, whatever it was handed in as."""
    file = folder / f"look-{submission.name}.py"
    file.write_text(submission.files["attention.py"], encoding="utf-8")
    return file


def make_class(samples: list[Sample], size: int, folder: Path, endless: int = 0) -> list[Path]:
    """Write a class of copies, every one a file of its own with another last line; `endless` of them never end."""
    folder.mkdir()
    places = {size * (i + 1) // (endless + 1) for i in range(endless)}
    files = []
    for i in range(size):
        sample = samples[i % len(samples)]
        files.append(folder / f"{i:03d}-{sample.name}.py")
        source = sample.source + (ENDLESS if i in places else "")
        files[-1].write_text(f"{source}\n# copy {i}\n", encoding="utf-8")
    return files
