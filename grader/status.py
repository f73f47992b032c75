"""`grader status`: the course as a map, drawn from real results only (progress.txt) and from course.toml."""

import json
from dataclasses import asdict, dataclass
from datetime import date

from .course import Course, Module
from .own_file import default_path
from .progress import Progress, Reached, read_progress
from .text import number

BAR = 10  # characters


@dataclass(frozen=True)
class TaskRow:
    """One task of the map; `seen` is when its points were last found, empty if never."""

    number: str
    name: str
    points: float
    max_points: float
    seen: str


@dataclass(frozen=True)
class ModuleRow:
    """One module of the map. `stale`: its file is not the one that the points were found for."""

    week: int
    name: str
    title: str
    hours: float
    due: str
    points: float
    max_points: float
    tasks: list[TaskRow]
    stale: bool
    there: bool

    @property
    def done(self) -> int:
        return sum(task.points == task.max_points for task in self.tasks)


@dataclass(frozen=True)
class Survey:
    """The whole map and what is next: a module and a task, both empty when nothing is left."""

    title: str
    modules: list[ModuleRow]
    next_module: str
    next_task: str

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)


def survey(course: Course) -> Survey:
    """Put together what is known. Nothing is run."""
    progress = read_progress(course.root)
    modules = [_row(course, module, progress) for module in course.modules.values()]
    for module in modules:
        task = next((task for task in module.tasks if task.points < task.max_points), None)
        if task is not None and module.there:
            return Survey(course.title, modules, module.name, task.name)
    return Survey(course.title, modules, "", "")


def current(course: Course) -> str:
    """The module that is next; the first of the course where nothing is left."""
    return survey(course).next_module or next(iter(course.modules))


def _row(course: Course, module: Module, progress: Progress) -> ModuleRow:
    found = {task: progress.points.get(f"{module.name}.{task}") for task in module.tasks}
    path = default_path(course, module)
    tasks = [_task(task.number, name, task.points, found[name]) for name, task in module.tasks.items()]
    digests = {reached.digest for reached in found.values() if reached}
    stale = bool(digests) and _digest(course, module) not in digests
    points = sum(task.points for task in tasks)
    return ModuleRow(
        module.week,
        module.name,
        module.title,
        module.hours,
        module.due,
        points,
        module.points,
        tasks,
        stale,
        path.is_file(),
    )


def _task(number: str, name: str, points: float, reached: Reached | None) -> TaskRow:
    # course.toml may have changed what a task is worth since
    share = reached.points / reached.max_points if reached and reached.max_points else 0.0
    return TaskRow(number, name, round(min(share, 1.0) * points, 4), points, reached.when if reached else "")


def _digest(course: Course, module: Module) -> str:
    """The first digits of the digest that a check of the file now would have."""
    from .own_file import Own, read

    path = default_path(course, module)
    return read(Own(course, module, path)).digest[:8] if path.is_file() else ""


def as_text(found: Survey, today: date | None = None) -> str:
    """The map for people, 80 columns wide."""
    points, most = (sum(getattr(m, name) for m in found.modules) for name in ("points", "max_points"))
    wide = max(len(module.name) for module in found.modules)
    lines = [f"{found.title}: {number(points)} of {number(most)} points", ""]
    for module in found.modules:
        share = module.points / module.max_points if module.max_points else 0.0
        bar = "#" * int(share * BAR) + "." * (BAR - int(share * BAR))
        score = f"{number(module.points)} of {number(module.max_points)}"
        tasks = f"{module.done} of {len(module.tasks)} tasks"
        due = _due(module.due, today or date.today())
        name = f"week {module.week:<2} {module.name:<{wide}}"
        lines.append(f"{name}  {bar}  {score:>13}  {tasks:<14}  {number(module.hours)} h{due}")
        if module.stale:
            lines.append(f"{' ' * (9 + wide)} changed since: grader check {module.name}")
    return "\n".join([*lines, "", *_next(found)])


def _due(due: str, today: date) -> str:
    if not due:
        return ""
    days = (date.fromisoformat(due) - today).days
    when = "today" if days == 0 else f"in {days} days" if days > 0 else f"{-days} days ago"
    return f"  due {due}, {when}"


def _next(found: Survey) -> list[str]:
    if not found.next_module:
        return ["Everything is right. To hand a module in: grader submit MODULE"]
    module = next(module for module in found.modules if module.name == found.next_module)
    task = next(task for task in module.tasks if task.name == found.next_task)
    missing = number(task.max_points - task.points)
    return [
        f"Next: {task.number} {task.name}, {missing} points to gain.",
        f"  handouts/{module.name}.md",
        f"  grader check {module.name} --watch",
    ]
