"""The jobs of one module: which package runs on which rows, from which seeds, beside which given parts."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property

from .assemble import GIVEN_FOLDER, from_folder, only
from .collecting import RowId
from .course import REFERENCE, Course, Module
from .device import CPU, is_gpu
from .expected import NATIVE
from .sandbox import Caps
from .worker import Job, Run

SLOWER = 3  # times the limits of time: the first use of a GPU's kernel loads it
FOR_ALL = 0.9  # of a GPU's memory, where several workers share it: each of them also has a context of its own


@dataclass(frozen=True)
class Jobs:
    """What every job of a grading run has in common. `given` is None in a kit of the module's own week."""

    course: Course
    module: Module
    device: str
    given: dict[str, str] | None
    gpu_workers: int = 1  # that share one GPU

    @property
    def file(self) -> str:
        return f"{self.module.name}.py"

    @property
    def caps(self) -> Caps:
        caps = Caps(**asdict(self.course.limits))
        if not is_gpu(self.device):
            return caps
        return replace(
            caps,
            memory_mib=0,
            gpu_share=FOR_ALL / (self.gpu_workers + 1) if self.gpu_workers > 1 else 1.0,  # one runs known mistakes
            check_cpu_seconds=SLOWER * caps.check_cpu_seconds,
            check_wall_seconds=SLOWER * caps.check_wall_seconds,
            submission_cpu_seconds=SLOWER * caps.submission_cpu_seconds,
            submission_wall_seconds=SLOWER * caps.submission_wall_seconds,
        )

    @cached_property
    def draws_on(self) -> str:
        """Where checks run that compare what was drawn: the answers of a kit were drawn on a CPU."""
        return self.device if (self.course.root / REFERENCE / self.file).is_file() else CPU

    def job(
        self,
        packages: list[dict[str, str]],
        rows: Sequence[RowId],
        seeds: Mapping[str, int],
        alone: str = "",
        watched: Sequence[str] = (),
    ) -> Job:
        """Every row on every package.

        Args:
            seeds: row → the seed of its inputs; 0 for a row that is not in it.
            alone: a task to check with given in place of those it calls. Given's own version of the task, and of what
                calls it, is not sent: a submission could find and use it.
            watched: what the package may not call.
        """
        runs = [
            Run(row.name, row.task, seeds.get(row.name, 0), [NATIVE], package)
            for package in range(len(packages))
            for row in rows
        ]
        tasks = list(self.module.tasks)
        given = self._given_below(alone) if alone else None
        return Job(self.module.name, packages, runs, given, tasks, self.device, self.draws_on, self.caps, list(watched))

    def _given_below(self, task: str) -> dict[str, str] | None:
        below = self.module.below(task)
        if self.given is None or not below:
            return None
        parts = only(self.given[self.file], tuple(self.module.tasks), frozenset(below))
        return self.given | {self.file: parts}


def jobs_of(course: Course, module: Module, device: str, gpu_workers: int = 1) -> Jobs:
    """The jobs of a module of this course or kit."""
    there = (course.root / GIVEN_FOLDER / f"{module.name}.py").is_file()
    return Jobs(course, module, device, from_folder(course, module, GIVEN_FOLDER) if there else None, gpu_workers)
