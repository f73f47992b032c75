"""course.toml as frozen dataclasses, checked on load."""

import tomllib
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, field, fields
from datetime import date
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from .errors import BadRequest, suggest

Table = TypeVar("Table")
FEEDBACK = {"hidden": ("property", "kind", "mistake"), "hints": ("free", "reported")}
REFERENCE = "reference"  # the folder of the model answers; a kit has none
MANIFEST = "kit.json"  # what is in a kit; only a kit has one
METHOD, KERNEL = "Tensor.", "aten."  # start an entry of `forbidden`: a method of any tensor, a kernel of torch's own
ANYTHING = ".*"  # ends one that means all of a package
TOML_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "list": (list,),
    "dict": (dict,),
}


@dataclass(frozen=True)
class Limits:
    """What one submission may use in a worker."""

    check_cpu_seconds: float = 2.0
    check_wall_seconds: float = 10.0
    submission_cpu_seconds: int = 60
    submission_wall_seconds: int = 240
    memory_mib: int = 1024
    output_kib: int = 16


@dataclass(frozen=True)
class Feedback:
    """What a report says of a check that fails on hidden rows only: `property`, `kind` or `mistake`, each more.

    hints: `free`, or `reported` where a hand-in carries how many were taken. They never cost points.
    """

    hidden: str = "mistake"
    hints: str = "free"


@dataclass(frozen=True)
class Policy:
    """How a grade is made. It is for the pages: the grader gives points for functionality, and knows no dates."""

    functionality: float  # percent of a grade, from the checks
    clarity: float  # percent, from a person who reads the code
    late_days: int = 0  # free ones of a student, over the course
    late_days_a_module: int = 0  # of these, at most so many for one module
    late_percent: float = 100.0  # of the grade, lost with each day after them


@dataclass(frozen=True)
class Task:
    """One function or class that a student fills in."""

    points: float
    uses: list[str]
    forbidden: list[str] = field(default_factory=list)  # beside what the module forbids
    name: str = ""
    number: str = ""


@dataclass(frozen=True)
class Module:
    """One week's file."""

    week: int
    title: str
    hours: float
    tasks: dict[str, Task]
    upstream: list[str] = field(default_factory=list)
    forbidden: list[str] = field(default_factory=list)
    usual: list[str] = field(default_factory=list)  # what a person would else be told of, and an honest answer takes
    start: str = ""  # YYYY-MM-DD
    due: str = ""  # YYYY-MM-DD
    name: str = ""

    @property
    def points(self) -> float:
        return sum(task.points for task in self.tasks.values())

    @property
    def all_forbidden(self) -> list[str]:
        """What the module or one of its tasks forbids."""
        return [*self.forbidden, *(entry for task in self.tasks.values() for entry in task.forbidden)]

    def forbids(self, call: str, task: str | None) -> bool:
        """Whether a task may not make a call; of code that is no task's, what the module forbids counts."""
        own = self.tasks[task].forbidden if task in self.tasks else []
        return any(fnmatchcase(call, entry) for entry in [*self.forbidden, *own])

    def below(self, task: str) -> set[str]:
        """The tasks that `task` calls, directly or through others."""
        found: set[str] = set()
        for used in self.tasks[task].uses:
            found |= {used} | self.below(used)
        return found


@dataclass(frozen=True)
class Course:
    """The course and the folder it lives in."""

    root: Path
    title: str
    limits: Limits
    feedback: Feedback
    modules: dict[str, Module]
    policy: Policy | None = None
    private: tuple[str, ...] = ()  # words that no kit may hold, such as names of the staff
    public: tuple[str, ...] = ()  # lines of a reference or a mutant that a kit may hold: idioms, or what a handout says

    def module(self, name: str) -> Module:
        if name not in self.modules:
            raise BadRequest(f"There is no module '{name}'.{suggest(name, self.modules)}")
        return self.modules[name]

    def check_files(self, module: str) -> list[Path]:
        """check_MODULE.py, or check_MODULE_PART.py for each part of a long one."""
        folder = self.root / "tests" / "checks"
        return sorted([*folder.glob(f"check_{module}.py"), *folder.glob(f"check_{module}_*.py")])

    def frozen_path(self, module: str) -> Path:
        """Where the tensors of a module lie in a kit; the JSON is beside them."""
        return self.root / "tests" / "expected" / f"{module}.safetensors"

    def module_of(self, check_file: Path) -> Module:
        for module in self.modules.values():
            if check_file in self.check_files(module.name):
                return module
        raise BadRequest(f"{check_file.name} is for no module of course.toml; check_MODULE.py was expected.")

    def source(self, folder: str, module: str) -> str:
        """The text of FOLDER/MODULE.py.

        Raises:
            BadRequest: there is no such file, as in a kit, which holds no reference.
        """
        path = self.root / folder / f"{module}.py"
        if not path.is_file():
            raise BadRequest(f"There is no {folder}/{module}.py in {self.root}.")
        return path.read_text(encoding="utf-8")


def packages(forbidden: Iterable[str]) -> list[str]:
    """The entries of `forbidden` that mean all of a package."""
    return [entry for entry in forbidden if entry.endswith(ANYTHING)]


def find_root(start: Path | None = None) -> Path:
    """The nearest folder upwards that holds course.toml, else the checkout this package is installed from."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents, Path(__file__).resolve().parents[1]):
        if (folder / "course.toml").is_file():
            return folder
    raise BadRequest(f"No course.toml in {here} or above it. Go to the course folder and try again.")


@cache
def load_course(root: Path) -> Course:
    """Read and check ROOT/course.toml.

    Raises:
        BadRequest: it does not parse, a key is unknown or missing, a value has the wrong type, or a task uses one
            that does not exist.
    """
    path = root / "course.toml"
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadRequest(f"{path}: {error}") from None
    _known(data, {"title", "limits", "feedback", "policy", "modules", "private", "public"}, "course.toml")
    modules = {}
    for name, table in _table(data, "modules", "course.toml").items():
        modules[name] = _module(name, table)
    limits = _fill(Limits, data.get("limits", {}), "course.toml [limits]")
    if not isinstance(data.get("title", ""), str):
        raise BadRequest(f"course.toml: 'title' must be str, got {data['title']!r}.")
    feedback = _fill(Feedback, data.get("feedback", {}), "course.toml [feedback]")
    for key, choices in FEEDBACK.items():
        if (value := getattr(feedback, key)) not in choices:
            raise BadRequest(f"course.toml [feedback]: '{key}' must be one of {', '.join(choices)}, got {value!r}.")
    policy = _policy(data["policy"]) if "policy" in data else None
    return Course(
        root,
        data.get("title", ""),
        limits,
        feedback,
        modules,
        policy,
        *(_texts(data, key) for key in ("private", "public")),
    )


def _texts(data: dict[str, Any], key: str) -> tuple[str, ...]:
    texts = data.get(key, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) and text.strip() for text in texts):
        raise BadRequest(f"course.toml: '{key}' must be a list of texts, got {texts!r}.")
    return tuple(texts)


def _policy(table: Any) -> Policy:
    where = "course.toml [policy]"
    policy = _fill(Policy, table, where)
    if policy.functionality + policy.clarity != 100:
        parts = f"{policy.functionality:g} and {policy.clarity:g}"
        raise BadRequest(f"{where}: 'functionality' and 'clarity' must sum to 100, got {parts}.")
    for name, value in vars(policy).items():
        if value < 0:
            raise BadRequest(f"{where}: '{name}' must be 0 or more, got {value:g}.")
    if policy.late_percent > 100:
        raise BadRequest(f"{where}: 'late_percent' must be at most 100, got {policy.late_percent:g}.")
    return policy


def _module(name: str, table: Any) -> Module:
    where = f"course.toml [modules.{name}]"
    tasks: dict[str, Task] = {}
    for index, (task, values) in enumerate(_table(table, "tasks", where).items(), 1):
        at = f"{where} task {task}"
        made = _fill(Task, values, at, name=task, number=f"{table.get('week')}.{index}")
        for used in made.uses:
            if used not in tasks:
                near = suggest(str(used), tasks) if tasks else ""
                raise BadRequest(f"{at}: uses '{used}', which is not a task listed above it.{near}")
        tasks[task] = made
    dates = {key: str(table[key]) for key in ("start", "due") if type(table.get(key)) is date}  # TOML has dates, too
    module = _fill(Module, {**table, **dates, "tasks": tasks}, where, name=name)
    for key, day in (("start", module.start), ("due", module.due)):
        if day and not _is_date(day):
            raise BadRequest(f"{where}: '{key}' must be a date such as '2026-10-01', got {day!r}.")
    if module.start and module.due and module.due < module.start:
        raise BadRequest(f"{where}: 'due' must not be before 'start', got {module.due} and {module.start}.")
    return module


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _table(data: Any, key: str, where: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise BadRequest(f"{where}: must be a table, got {data!r}.")
    if not isinstance(data.get(key), dict) or not data[key]:
        raise BadRequest(f"{where}: the table '{key}' is missing or empty.")
    table: dict[str, Any] = data[key]
    return table


def _known(data: dict[str, Any], known: set[str], where: str) -> None:
    for key in data:
        if key not in known:
            raise BadRequest(f"{where}: unknown key '{key}'.{suggest(key, sorted(known))}")


def _fill(kind: type[Table], values: Any, where: str, **ours: str) -> Table:
    """An instance of the dataclass from a TOML table, every key and type checked; `ours` is not the file's to say."""
    if not isinstance(values, dict):
        raise BadRequest(f"{where}: must be a table, got {values!r}.")
    spec = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    _known(values, set(spec) - set(ours), where)
    for name, value in values.items():
        wanted = str(getattr(spec[name].type, "__name__", spec[name].type)).split("[")[0]
        if not isinstance(value, TOML_TYPES[wanted]) or isinstance(value, bool):
            raise BadRequest(f"{where}: '{name}' must be {wanted}, got {value!r}.")
    for name, key in spec.items():
        if key.default is MISSING and key.default_factory is MISSING and name not in values | ours:
            raise BadRequest(f"{where}: '{name}' is missing.")
    return kind(**values, **ours)
