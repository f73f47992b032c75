"""What a grading run leaves behind: one record a check, one a submission. Every report is drawn from these."""

import json
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from glob import escape
from pathlib import Path
from typing import Any

from .errors import BadRequest

SCHEMA = 1
PID = re.compile(r"[1-9][0-9]{0,8}")

# Statuses of a check. `blocked`: it could not run because the file did not import.
STATUSES = ("passed", "failed", "error", "missing", "forbidden", "timeout", "crashed", "blocked")


@dataclass(frozen=True)
class Diagnosis:
    """The known mistake that gives exactly the student's output."""

    mutant: str
    says: str
    hints: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Picture:
    """A slice of a failed tensor as rows of numbers; NaN and inf are the strings "nan", "inf" and "-inf"."""

    axes: tuple[str, str]
    slice: str
    expected: list[list[float | str]]
    got: list[list[float | str]]


@dataclass(frozen=True)
class CheckRecord:
    """The verdict on one check, all its rows together."""

    name: str
    task: str
    status: str
    points: float
    max_points: float
    message: str
    diagnosis: Diagnosis | None
    seconds: float
    reference_seconds: float
    sentence: str
    cause: str | None = None  # the task whose failure explains this one
    picture: Picture | None = None
    printed: str = ""
    gpu_mib: float = 0.0  # at the peak, of the row that took most
    reference_gpu_mib: float = 0.0
    device: str = ""  # where it ran


def failing(checks: Iterable[CheckRecord]) -> list[CheckRecord]:
    """Those that did not pass, the ones of a known mistake first."""
    return sorted((check for check in checks if check.status != "passed"), key=lambda check: check.diagnosis is None)


@dataclass(frozen=True)
class Chain:
    """What the student's own earlier files do to the public rows that pass with given ones. No points hang on it."""

    own: list[str]  # the earlier modules that the student has files of
    rows: int
    lost: int
    blame: str = ""  # the earlier module that the lost ones are due to
    message: str = ""

    def sentence(self) -> str:
        files = "the submission's own " + " and ".join(f"{name}.py" for name in self.own)
        if not self.lost:
            return f"With {files} in place of the given parts: as right as with given parts."
        lost = f"{self.lost} of {self.rows} examples that are right with given parts are not"
        return f"With {files} in place of the given parts {lost}; {self.blame} is to blame."


@dataclass(frozen=True)
class SubmissionRecord:
    """Everything known about one graded submission."""

    submission: str
    module: str
    score: float
    max_score: float
    status: str  # graded, not_importable or unreadable
    seed: int
    device: str
    isolation: list[str]
    versions: dict[str, str]
    seconds: float
    checks: list[CheckRecord]
    problem: str = ""  # why it could not be graded: the reason, or the traceback
    notes: list[str] = field(default_factory=list)  # for the instructor, e.g. forbidden calls with line numbers
    digest: str = ""  # of the submission and of the checks it was graded by
    chain: Chain | None = None
    schema: int = SCHEMA

    def ran_elsewhere(self) -> str:
        """What did not run where it was asked for; empty where all did, and on a CPU, where a stand-in is used too."""
        other = [check.device for check in self.checks if check.device not in ("", self.device)]
        if not other or self.device == "cpu":
            return ""
        places = " and ".join(sorted(set(other)))
        return f"{len(other)} of {len(self.checks)} checks cannot run on {self.device}; they ran on {places}."

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, allow_nan=False) + "\n"


def from_json(text: str) -> SubmissionRecord:
    """The record written by SubmissionRecord.to_json."""
    data: dict[str, Any] = json.loads(text)
    data["checks"] = [_check(values) for values in data["checks"]]
    data["chain"] = Chain(**data["chain"]) if data["chain"] else None
    return SubmissionRecord(**data)


def _check(values: dict[str, Any]) -> CheckRecord:
    diagnosis, picture = values["diagnosis"], values["picture"]
    values["diagnosis"] = Diagnosis(**diagnosis) if diagnosis else None
    values["picture"] = Picture(**{**picture, "axes": tuple(picture["axes"])}) if picture else None
    return CheckRecord(**values)


def write_whole(path: Path, text: str) -> None:
    """Write a text; see write_bytes."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, contents: bytes) -> None:
    """Write a file so that a reader sees the old text or the new, never half of it.

    Raises:
        BadRequest: the disk is full, or the folder may not be written to.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear(path)
        temporary.write_bytes(contents)
        temporary.replace(path)
    except OSError as error:
        why = error.strerror or str(error)
        raise BadRequest(f"{path} cannot be written: {why}. The same command goes on where it stopped.") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _clear(path: Path) -> None:
    """Remove what a process that was killed before it could rename left beside the file; never that of a live one."""
    for left in path.parent.glob(f".{escape(path.name)}.*"):
        pid = left.suffix.removeprefix(".")
        if PID.fullmatch(pid) and left.name == f".{path.name}.{pid}" and left.is_file() and not _lives(int(pid)):
            with suppress(OSError):
                left.unlink()


def _lives(pid: int) -> bool:
    """Whether a process of this number runs, ours or another's; on Windows, where to ask would end it, as if it did."""
    if os.name == "nt":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        pass
    return True
