"""`python -m tests.bench`: how fast the grader is, beside plain pytest on the same checks, on this machine.

Nine parts: 1 a class, 2 the same with two submissions that never end, 3 one submission, 4 start-up, 5 where the CPU
time goes, 6 from a save to its verdict, 7 training a GPT beside transformers, 8 the same on a GPU beside nanoGPT's
arrangement, where there is one, 9 memory. Ours and the rival take turns, so that a busy machine is busy for both.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

from . import rival, training
from .classes import Sample, grade, grader, make_class, ordinary
from .clock import Memory, Timed, Watch, timed
from .saving import verdicts

ROOT = Path(__file__).resolve().parents[2]
ENDLESS = 2
Facts = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """What every part needs."""

    folder: Path
    samples: list[Sample]
    size: int
    rounds: int
    rivals: int
    jobs: int
    plain: Path
    saves: int

    def new(self, name: str) -> Path:
        """A folder that is not there yet."""
        return Path(tempfile.mkdtemp(prefix=name, dir=self.folder)) / "it"


def throughput(bench: Bench) -> Facts:
    """Part 1: a class, and plain pytest on some of it."""
    files = make_class(bench.samples, bench.size, bench.folder / "class")
    ours, rivals = [], []
    for number in range(bench.rounds):
        ours.append(grade(ROOT, files[0].parent, bench.new("out")))
        first = number * bench.rivals
        some = [files[(first + i) % len(files)] for i in range(bench.rivals)]
        rivals.append(rival.run_all(bench.plain, some, bench.jobs))
    wall = median(run.wall for run in ours)
    rival_wall = median(wall for wall, _ in rivals) / bench.rivals * bench.size
    return {
        "submissions": bench.size,
        "rounds": bench.rounds,
        "seconds": [run.wall for run in ours],
        "cpu_seconds": [run.cpu for run in ours],
        "median": wall,
        "per_second": bench.size / wall,
        "rival_sample": bench.rivals,
        "rival_sample_seconds": [wall for wall, _ in rivals],
        "rival_sample_cpu_seconds": [cpu for _, cpu in rivals],
        "rival_scaled": rival_wall,
        "rival_per_second": bench.size / rival_wall,
        "ratio": rival_wall / wall,
        "cpu_ratio": median(cpu for _, cpu in rivals) / bench.rivals * bench.size / median(run.cpu for run in ours),
    }


def endless(bench: Bench) -> Facts:
    """Part 2: what two submissions that never end add to the class, in turns with the class without them."""
    from grader.course import load_course
    from grader.workers import TIMEOUTS_ALLOWED

    with_them, without = bench.folder / "with-endless", bench.folder / "without"
    make_class(bench.samples, bench.size, with_them, ENDLESS)
    make_class(bench.samples, bench.size, without)
    runs: list[tuple[Timed, Timed]] = []
    for _ in range(bench.rounds):
        runs.append((grade(ROOT, without, bench.new("out")), grade(ROOT, with_them, bench.new("out"))))
    limits = load_course(ROOT).limits
    return {
        "endless": ENDLESS,
        "without": [one.wall for one, _ in runs],
        "with": [other.wall for _, other in runs],
        "added": median(other.wall for _, other in runs) - median(one.wall for one, _ in runs),
        "added_cpu": median(other.cpu for _, other in runs) - median(one.cpu for one, _ in runs),
        "budget_cpu_each": limits.submission_cpu_seconds,
        "timeouts_allowed": TIMEOUTS_ALLOWED,
        "check_cpu_seconds": limits.check_cpu_seconds,
    }


def single(bench: Bench) -> Facts:
    """Part 3: `grader check` from a cold start, on the best sample and on one with a mistake."""
    best = max(bench.samples, key=lambda sample: sample.score)
    wrong = [sample for sample in bench.samples if 0 < sample.score < best.score]
    facts = {}
    for sample in [best, *wrong[:1]]:
        (file,) = make_class([sample], 1, bench.folder / f"one-{sample.name}")
        ours, theirs = [], []
        for _ in range(5):
            ours.append(timed([*grader(), "check", "attention", "--impl", file], cwd=ROOT))
            theirs.append(rival.run(bench.plain, file))
            if ours[-1].code not in (0, 1):
                raise SystemExit(f"grader check ended with {ours[-1].code}:\n{ours[-1].said[-2000:]}")
        facts[sample.name] = {
            "score": sample.score,
            "seconds": [run.wall for run in ours],
            "median": median(run.wall for run in ours),
            "cpu_median": median(run.cpu for run in ours),
            "rival_seconds": [run.wall for run in theirs],
            "rival_median": median(run.wall for run in theirs),
            "rival_cpu_median": median(run.cpu for run in theirs),
        }
    return facts


def start_up(bench: Bench) -> Facts:
    """Part 4: `grader --help`."""
    runs = [timed([*grader(), "--help"], cwd=ROOT) for _ in range(10)]
    if any(run.code != 0 for run in runs):
        raise SystemExit(f"grader --help failed:\n{runs[-1].said[-2000:]}")
    walls = [run.wall for run in runs]
    return {"seconds": walls, "median": median(walls), "aim": 0.2}


def where(bench: Bench) -> Facts:
    """Part 5: CPU seconds of the judge, of the zygotes (its children) and of the workers (theirs), for the class."""
    folder, out = bench.folder / "watched", bench.new("out")
    files = make_class(bench.samples, bench.size, folder)
    watch = Watch(lambda: any(out.glob("*/attention.json")))
    run = grade(ROOT, folder, out, watch=watch)
    if not watch.last.children:
        return {"note": "this machine has no /proc/PID/task/TID/children to look at"}
    children = watch.last.children
    names = (" of submissions", " of reference and mutants") if len(children) == 2 else ("",)
    rows = {"judge": (watch.first.own, run.cpu - sum(own + theirs for own, theirs in children.values()))}
    for i, pid in enumerate(sorted(children)):
        name = names[i] if i < len(names) else f" {i + 1}"
        before, after = watch.first.children.get(pid, (0.0, 0.0)), children[pid]
        rows[f"zygote{name}"] = (before[0], after[0])
        rows[f"workers{name}"] = (before[1], after[1])
    own = _said_by("arithmetic", *files[: len(bench.samples)])
    each = sum(whole - before for before, whole in rows.values()) / (bench.size - 1)
    return {
        "seconds": run.wall,
        "cpu_seconds": run.cpu,
        "seconds_to_first_record": watch.first.wall,
        "rows": {name: {"before_first_record": before, "whole": whole} for name, (before, whole) in rows.items()},
        "each_after_the_first": each,
        "arithmetic": mean(own["seconds"].values()),
        "above": each - mean(own["seconds"].values()),
        "aim_above": 0.05 + 0.0005 * own["checks"],
        "one_worker": _said_by("one_worker", files[0]),
    }


def _said_by(name: str, *files: Path) -> Facts:
    """What the program of that name in this folder finds out about some files."""
    command = [sys.executable, "-m", f"tests.bench.{name}", *files]
    run = timed(command, cwd=ROOT, environment={"OMP_NUM_THREADS": "1"})
    if run.code != 0:
        raise SystemExit(f"tests.bench.{name} failed:\n{run.said[-2000:]}")
    found: Facts = json.loads(run.said.splitlines()[-1])
    return found


def saving(bench: Bench) -> Facts:
    """Part 6: `grader check --watch`, from the write to the verdict, and plain pytest from cold on the same file."""
    cold, seconds = verdicts(ROOT, bench.new("saves"), bench.saves)
    (file,) = make_class([max(bench.samples, key=lambda sample: sample.score)], 1, bench.folder / "saved")
    rivals = [rival.run(bench.plain, file).wall for _ in range(5)]
    return {
        "saves": len(seconds),
        "seconds": seconds,
        "median": median(seconds),
        "worst": max(seconds),
        "cold": cold,
        "rival_seconds": rivals,
        "rival_median": median(rivals),
        "aim": 0.3,
    }


def train(bench: Bench) -> Facts:
    """Part 7: tokens a second of given and of the reference beside transformers' GPT-2."""
    return training.compete(max(bench.rounds, 3))


def train_on_gpu(bench: Bench) -> Facts:
    """Part 8: tokens a second of given and of the reference on a GPU beside nanoGPT's arrangement of torch.nn."""
    return training.compete_on_gpu(max(bench.rounds, 3))


def memory(bench: Bench) -> Facts:
    """Part 9: the most memory of the judge, its zygotes and eight workers, for the class."""
    folder, seen = bench.folder / "weighed", Memory()
    make_class(bench.samples, bench.size, folder)
    grade(ROOT, folder, bench.new("out"), "--jobs", "8", watch=seen)
    return {"workers": 8, "most_mib": seen.most_mib, "aim_mib": 1024}


PARTS: dict[int, tuple[str, Callable[[Bench], Facts]]] = {
    1: ("throughput", throughput),
    2: ("endless", endless),
    3: ("single", single),
    4: ("start_up", start_up),
    5: ("where", where),
    6: ("saving", saving),
    7: ("training", train),
    8: ("training_on_gpu", train_on_gpu),
    9: ("memory", memory),
}
NEEDS_THE_CLASS = {1, 2, 3, 5, 6, 9}


def machine() -> Facts:
    """What a figure means little without."""
    import torch

    models = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor() or platform.machine(),
        "cores": _cores(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "load": os.getloadavg()[0],
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main() -> None:
    """Run the parts that are asked for, all by default, and print a table as each is done."""
    from .table import show

    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Time the grader beside plain pytest.")
    parser.add_argument("--part", type=int, choices=PARTS, action="append", help="one part; may be given again")
    parser.add_argument("--size", type=int, default=300, help="submissions in the class")
    parser.add_argument("--rounds", type=int, default=3, help="runs of ours in parts 1 and 2")
    parser.add_argument("--rival", type=int, default=10, help="submissions the rival runs a round; scaled to the class")
    parser.add_argument("--saves", type=int, default=50, help="saves in part 6")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    asked = parser.parse_args()
    facts: Facts = {"machine": machine()}
    show("machine", facts["machine"])
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        place, parts = Path(folder), set(asked.part or PARTS)
        plain, samples = place, []
        if parts & NEEDS_THE_CLASS:
            plain = rival.prepare(ROOT, place)
            samples, left_out = ordinary(ROOT, place, plain)
            facts["class"] = {"samples": [sample.name for sample in samples], "left_out": left_out}
            show("class", facts["class"])
        bench = Bench(place, samples, asked.size, asked.rounds, asked.rival, _cores(), plain, asked.saves)
        for part in sorted(parts):
            name, measure = PARTS[part]
            facts[name] = measure(bench)
            show(name, facts[name])
    facts["machine"]["load_after"] = os.getloadavg()[0]
    if asked.json:
        asked.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
