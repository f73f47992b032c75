"""The rival: the rows of the checks as a plain pytest file, which a course would write without the grader.

rival.py copies this file beside the check files and `rows.pt`; SUBMISSION names the file under test. The check
functions are the grader's own, called with the same inputs; what they return is compared by assert_close.
"""

import builtins
import importlib
import importlib.util
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from grader.rng import Rng

CHECKS = [importlib.import_module(file.stem) for file in sorted(Path(__file__).parent.glob("check_*.py"))]
ROWS = torch.load(Path(__file__).with_name("rows.pt"), weights_only=True)


@pytest.fixture(scope="module")
def impl() -> ModuleType:
    """The submission."""
    spec = importlib.util.spec_from_file_location("attention", os.environ["SUBMISSION"])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ROWS)
def test_row(name: str, impl: ModuleType) -> None:
    row = ROWS[name]
    check = next(getattr(file, row["check"]) for file in CHECKS if hasattr(file, row["check"]))
    rng = Rng(row["seed"])
    if row["raises"]:
        with pytest.raises(getattr(builtins, row["raises"])):
            check(impl, rng, **row["arguments"])
    else:
        agree(check(impl, rng, **row["arguments"]), row["value"])


def agree(got: Any, wanted: Any) -> None:
    """assert_close for the tensors in nested lists and dicts, equality for all else."""
    if isinstance(wanted, Tensor):
        torch.testing.assert_close(got, wanted)
    elif isinstance(wanted, dict):
        assert got.keys() == wanted.keys()
        for key, value in wanted.items():
            agree(got[key], value)
    elif isinstance(wanted, list):
        assert len(got) == len(wanted)
        for one, other in zip(got, wanted, strict=True):
            agree(one, other)
    else:
        assert got == wanted
