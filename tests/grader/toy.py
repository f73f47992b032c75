"""A course of three tiny modules, each on the ones before it, in a folder of its own."""

from pathlib import Path

from grader.course import Course, load_course

COURSE = """
title = "Toy"
[modules.half]
week = 1
title = "Half"
hours = 1
[modules.half.tasks]
half = { points = 100, uses = [] }
[modules.mean]
week = 2
title = "Mean"
hours = 1
upstream = ["half"]
[modules.mean.tasks]
mean = { points = 100, uses = [] }
[modules.spread]
week = 3
title = "Spread"
hours = 1
upstream = ["half", "mean"]
[modules.spread.tasks]
spread = { points = 50, uses = [] }
middle = { points = 50, uses = [] }
"""
HALF = "def half(x):\n    return x / 2\n"
MEAN = "from .half import half\n\ndef mean(x, y):\n    return half(x + y)\n"
SPREAD = """from .half import half
from .mean import mean

def spread(x, y):
    return half(abs(x - y))

def middle(x, y):
    return mean(x, y)
"""
CHECK_HALF = """from grader import graded

@graded("half", rows=[{"size": 3}])
def check_half(impl, rng, size):
    '''half is x / 2.'''
    return impl.half(rng.randn(size))
"""
CHECK_MEAN = """from grader import graded

@graded("mean", rows=[{"size": 4}])
def check_mean(impl, rng, size):
    '''mean is (x + y) / 2.'''
    return impl.mean(rng.randn(size), rng.randn(size))
"""
CHECK_SPREAD = """from grader import graded

@graded("spread", rows=[{"size": 3}, {"size": 4}])
def check_spread(impl, rng, size):
    '''spread is half the distance.'''
    return impl.spread(rng.randn(size), rng.randn(size))

@graded("middle", rows=[{"size": 5}])
def check_middle(impl, rng, size):
    '''middle is between the two.'''
    return impl.middle(rng.randn(size), rng.randn(size))
"""
RIGHT = {"half.py": HALF, "mean.py": MEAN, "spread.py": SPREAD}
CHECKS = {"half": CHECK_HALF, "mean": CHECK_MEAN, "spread": CHECK_SPREAD}


def write_course(root: Path) -> Course:
    """Write the course; what is right stands in reference and in given."""
    (root / "course.toml").write_text(COURSE)
    for folder in ("reference", "assignments/given"):
        for name, text in RIGHT.items():
            file = root / folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    (root / "tests" / "checks").mkdir(parents=True)
    for name, text in CHECKS.items():
        (root / "tests" / "checks" / f"check_{name}.py").write_text(text)
    return load_course(root)
