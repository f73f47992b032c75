"""Grade the hostile class in tests/attacks, level by level, and print a table: `python scripts/attacks.py`.

Each file holds two right tasks, worth HONEST points, and one attack. It must gain nothing above that, reach no secret,
harm no neighbour and outlive nothing. tests/grader/test_attacks.py asserts the same; tests/attacks/README.md explains.
"""

import argparse
import contextlib
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from grader.collect import Submission
from grader.course import load_course
from grader.grade import grade
from grader.isolation import NAMESPACES
from grader.opening import open_session
from grader.options import Options
from grader.record import SubmissionRecord
from grader.session import Session

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "tests" / "attacks"
HONEST = 16.0  # points of Linear and merge_heads
LEAK = "gotcha:"  # an attack that gets hold of what it should not writes this before it
LEVELS = {"A": (), "B": ("namespaces",), "C": ("namespaces", "Landlock", "seccomp")}  # layers left out
SECONDS = 20  # that one submission may take, with the short limits of `hostile_session`
LONGEST_RECORD = 1 << 20  # characters
FLAGS = ("note", "forbidden")


@dataclass(frozen=True)
class Attack:
    """One hostile submission, and what its head says about it."""

    name: str
    source: str
    says: str
    rows: str  # numbers in tests/attacks/README.md
    expect: str  # "note" or "forbidden": the flag that it must carry; "" for none
    needs: str  # what a level must protect for this to be run there


@dataclass(frozen=True)
class Stage:
    """What the attacks go for, outside the worker."""

    folder: Path
    word: str  # the secret; no record may hold it
    listener: socket.socket
    bystander: subprocess.Popen[bytes]

    @property
    def marker(self) -> Path:
        return self.folder / "open" / "marker"

    def fill(self, source: str) -> str:
        """The source of an attack with the real paths and numbers in it."""
        values = {
            "ROOT": ROOT,
            "SECRET": self.folder / "secret.txt",
            "MARKER": self.marker,
            "PORT": self.listener.getsockname()[1],
            "PID": os.getpid(),
            "BYSTANDER": self.bystander.pid,
            "TAG": f"tag-{self.folder.name}",
        }
        return re.sub(r"@([A-Z]+)@", lambda match: str(values[match[1]]), source)


@dataclass(frozen=True)
class Seen:
    """What one attack came to: its record, unless the judge fell, and everything that should not have happened."""

    record: SubmissionRecord | None
    seconds: float
    troubles: list[str]


def read_attacks() -> list[Attack]:
    return [_attack(path) for path in sorted(FOLDER.glob("*.py"))]


def _attack(path: Path) -> Attack:
    source = path.read_text(encoding="utf-8")
    says = source.removeprefix('"""').splitlines()[0]
    rows = re.search(r"\(attacks? ([\d, ]+)\)", says)
    expect = re.search(r"^# expect: (\w+)$", source, re.M)
    needs = re.search(r"^# needs: (.+)$", source, re.M)
    assert rows, f"{path}: its first line names no row of the README"
    return Attack(path.stem, source, says, rows[1], expect[1] if expect else "", needs[1] if needs else "")


@contextlib.contextmanager
def set_stage() -> Iterator[Stage]:
    """A secret that every user could read, a folder that every user could write, a listener, a bystander."""
    folder = Path(tempfile.mkdtemp(prefix="attacks-"))
    folder.chmod(0o755)
    (folder / "open").mkdir()
    (folder / "open").chmod(0o777)
    word = secrets.token_hex(16)
    (folder / "secret.txt").write_text(word, encoding="utf-8")
    bystander = subprocess.Popen(["sleep", "3600"], env={"SECRET": word, "PATH": os.defpath})
    try:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            yield Stage(folder, word, listener, bystander)
    finally:
        bystander.kill()
        bystander.wait()
        shutil.rmtree(folder)


@contextlib.contextmanager
def hostile_session(level: str) -> Iterator[Session]:
    """A session of attention without the layers above `level`, with limits short enough to wait for."""
    course = load_course(ROOT)
    with open_session(course, course.module("attention"), seed=11, skip=LEVELS[level]) as session:
        # only now: the first run of every check, which the zygotes make, takes longer
        limits = replace(course.limits, check_cpu_seconds=0.5, check_wall_seconds=1.5)
        yield session.for_course(replace(course, limits=limits))


def protects(session: Session, needed: str) -> bool:
    return not needed or f"not protected: {needed}" not in session.isolation


def verdicts(session: Session) -> list[tuple[str, str, float, str]]:
    """What the neighbour gets: the reference, graded like any submission."""
    source = (ROOT / "reference" / "attention.py").read_text(encoding="utf-8")
    record = grade(session, Submission("neighbour", {"attention.py": source}), "", Options())
    return [(check.name, check.status, check.points, check.message) for check in record.checks]


def play(session: Session, stage: Stage, attack: Attack) -> Seen:
    """Grade one attack and look at everything it could have touched."""
    start, record = time.monotonic(), None
    try:
        record = grade(session, Submission(attack.name, {"attention.py": stage.fill(attack.source)}), "", Options())
        text, troubles = record.to_json(), []
    except Exception as error:  # whatever a submission sends, the judge must get over it
        text, troubles = "", [f"the judge fell: {type(error).__name__}: {error}"]
    seconds = time.monotonic() - start
    if record is not None:
        troubles += _in_record(record, text, stage, attack)
    if seconds > SECONDS:
        troubles.append(f"it held the judge for {seconds:.0f} s")
    return Seen(record, seconds, troubles + _outside(session, stage))


def _in_record(record: SubmissionRecord, text: str, stage: Stage, attack: Attack) -> list[str]:
    wrong = {
        f"{record.score:g} points, above {HONEST:g}": record.score > HONEST + 1e-6,
        "the secret is in its record": stage.word in text,
        "its record says what it got hold of": LEAK in text,
        f"its record has {len(text)} characters": len(text) > LONGEST_RECORD,
        f"no {attack.expect} for the instructor": attack.expect in FLAGS and not flagged(record, attack.expect),
    }
    return [trouble for trouble, holds in wrong.items() if holds]


def flagged(record: SubmissionRecord, expect: str) -> bool:
    """Whether a person who looks at the record is told: by a status, by a note, or because it was not even graded."""
    forbidden = any(check.status == "forbidden" for check in record.checks)
    return forbidden or (expect == "note" and (bool(record.notes) or record.status != "graded"))


def _outside(session: Session, stage: Stage) -> list[str]:
    """Traces of an attack on the machine. What is found is cleared away, for the next attack."""
    written = sorted(str(path.relative_to(stage.folder)) for path in stage.marker.parent.iterdir())
    shutil.rmtree(stage.marker.parent)
    stage.marker.parent.mkdir()
    stage.marker.parent.chmod(0o777)
    reached = False
    with contextlib.suppress(BlockingIOError):
        stage.listener.accept()[0].close()
        reached = True
    alive = _survivors(session, stage)
    wrong = {
        f"it wrote {written[:3]}": bool(written),
        "it reached the listener": reached,
        f"it left processes behind: {alive[:5]}": bool(alive),
        "it killed a bystander": stage.bystander.poll() is not None,
    }
    return [trouble for trouble, holds in wrong.items() if holds]


def _survivors(session: Session, stage: Stage) -> list[int]:
    """Processes forked from our zygotes, which share their command line, or started under the attacks' tag."""
    ours = {session.students._process.pid, session.live.trusted._process.pid}
    if os.geteuid() and NAMESPACES in session.isolation:  # then each goes on as the first process of a namespace
        ours |= {int(pid) for one in ours for pid in Path(f"/proc/{one}/task/{one}/children").read_text().split()}
    marks = (f'"judge": {os.getpid()},'.encode(), f"tag-{stage.folder.name}".encode())
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if any(mark in path.read_bytes() for mark in marks) and int(path.parent.name) not in ours:
                found.append(int(path.parent.name))
    return found


def main() -> int:
    """Print a table for each level; 1 if any attack got anywhere."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--levels", default="ABC", help="which levels to try, for example AB")
    parser.add_argument("-k", default="", help="only the attacks with this in their name")
    chosen = parser.parse_args()
    attacks = [attack for attack in read_attacks() if chosen.k in attack.name]
    troubles = sum(_table(level, attacks) for level in chosen.levels)
    print(f"\n{troubles} of the attacks got anywhere." if troubles else "\nNo attack got anywhere.")
    return 1 if troubles else 0


def _table(level: str, attacks: list[Attack]) -> int:
    """Play all attacks at one level and print a line each; how many got anywhere."""
    count = 0
    with set_stage() as stage, hostile_session(level) as session:
        print(f"\nWithout {', '.join(LEVELS[level]) or 'nothing'}: {'; '.join(session.isolation)}\n")
        print(f"{'attack':24} {'rows':12} {'score':>6} {'honest':>6} {'s':>5}  seen")
        before = verdicts(session)
        for attack in attacks:
            if not protects(session, attack.needs):
                print(f"{attack.name:24} {attack.rows:12} {'':19}  not run: {attack.needs} not protected, as reported")
                continue
            seen = play(session, stage, attack)
            troubles = seen.troubles + (["its neighbour was graded otherwise"] if verdicts(session) != before else [])
            count += bool(troubles)
            print(_line(attack, seen, troubles), flush=True)
    return count


def _line(attack: Attack, seen: Seen, troubles: list[str]) -> str:
    score = f"{seen.record.score:g}" if seen.record else "none"
    says = f"!! {'; '.join(troubles)}" if troubles else _first(seen.record) if seen.record else ""
    return f"{attack.name:24} {attack.rows:12} {score:>6} {HONEST:6g} {seen.seconds:5.1f}  {says}"[:300]


def _first(record: SubmissionRecord) -> str:
    """What a person sees first: the note, else the problem, else the message of the first check that is lost."""
    lost = [f"{check.status}: {check.message}" for check in record.checks if check.status != "passed"]
    flags = [f"note: {note}" for note in record.notes]
    return ascii(" | ".join([*flags[:1], *filter(None, [record.problem]), *lost[:1]]))[1:90]


if __name__ == "__main__":
    sys.exit(main())
