"""What the reference gives for a row, and how far rounding may carry a right answer from it."""

from collections.abc import Sequence

import pytest
import torch
from outcomes import INF, NAN, ROW, raised, values

from grader.compare import compare
from grader.errors import GraderFault
from grader.expected import MOVED_DRAWS, REDRAWS, Expected, Truth, expect
from grader.outcome import Outcome, Raised
from grader.rng import seed_from
from grader.sandbox import Caps
from grader.worker import Job
from grader.workers import Results

X = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


def run(monkeypatch: pytest.MonkeyPatch, *draws: Sequence[Outcome], loaded: Outcome | None = None) -> Expected:
    """The expected outcome of a reference that gives these outcomes, a list a draw and an outcome a mode."""
    left = list(draws)
    end = loaded or Outcome("values")

    def run_job(zygote: object, job: Job) -> Results:
        assert [mode for made in job.runs for mode in made.modes] == [
            (False, 0),
            (True, 0),
            *((True, n) for n in range(1, MOVED_DRAWS + 1)),
        ]
        return Results(end, [list(left.pop(0)) if len(left) > 1 else list(left[0])])

    monkeypatch.setattr("grader.expected.run_job", run_job)
    job = Job("toy", [{}], [], None, ["toy"], "cpu", "cpu", Caps(1, 1, 1, 1, 1), [])
    return expect(None, job, [ROW], seed=5)[ROW.name]  # type: ignore[arg-type]


def draw(native: object, wide: object, *moved: object) -> list[Outcome]:
    others = [*moved, *[wide] * (MOVED_DRAWS - len(moved))]
    return [each if isinstance(each, Outcome) else values(each) for each in (native, wide, *others)]


TRUE = torch.tensor([1.0, -8.0, 0.5], dtype=torch.float64)


@pytest.mark.parametrize(
    ("native_off", "moved_off", "estimate"), [(0.0, 0.0, 0.0), (0.25, 0.125, 0.25), (0.25, -0.5, 0.5)]
)
def test_estimate_is_the_larger_of_own_error_and_of_what_moves_change(
    monkeypatch: pytest.MonkeyPatch, native_off: float, moved_off: float, estimate: float
) -> None:
    off = torch.tensor([0.0, 0.0, 1.0])
    found = run(monkeypatch, draw(TRUE.float() + native_off * off, TRUE, TRUE, TRUE + moved_off * off))
    truth = found.truths[""]
    assert torch.equal(truth.values, TRUE)
    assert truth.estimate == estimate
    assert truth.floor == 2.0**-24 * 8
    assert truth.allowed == 4 * estimate + 4 * 2.0**-24 * 8


@pytest.mark.parametrize(
    ("dtype", "half"),
    [(torch.float64, 2.0**-53), (torch.float32, 2.0**-24), (torch.float16, 2.0**-11), (torch.bfloat16, 2.0**-8)],
    ids=str,
)
def test_floor_is_half_the_epsilon_of_the_dtype_at_the_largest_true_value(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, half: float
) -> None:
    assert run(monkeypatch, draw(TRUE.to(dtype), TRUE)).truths[""].floor == half * 8


def test_python_float_has_the_floor_of_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, draw(0.5, 0.5)).truths[""] == Truth(torch.tensor(0.5).double(), 0.0, 2.0**-25)


def test_nan_and_inf_do_not_enter_the_tolerance(monkeypatch: pytest.MonkeyPatch) -> None:
    native, wide = torch.tensor([INF, 2.0, NAN]), torch.tensor([7e4, 2.0, NAN], dtype=torch.float64)
    truth = run(monkeypatch, draw(native, wide)).truths[""]
    assert (truth.estimate, truth.floor) == (0.0, 2.0**-24 * 7e4)
    empty = run(monkeypatch, draw(torch.empty(0), torch.empty(0).double())).truths[""]
    assert empty.allowed == 0.0


def test_discrete_value_that_rounding_flips_is_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    flips, stays = draw([1, TRUE.float()], [2, TRUE]), draw([3, TRUE.float()], [3, TRUE])
    found = run(monkeypatch, flips, flips, stays)
    assert found.native.leaves["[0]"] == 3
    assert found.seed == seed_from(5, ROW.name, 2)
    assert list(found.truths) == ["[1]"]


@pytest.mark.parametrize(
    "flips",
    [
        draw(torch.tensor([1, 2]), torch.tensor([2, 1])),
        draw([1, 2], [1]),
        draw(X.bool(), raised("ValueError", "no")),
    ],
    ids=["tensor", "length", "exception"],
)
def test_value_that_is_never_stable_is_a_fault(monkeypatch: pytest.MonkeyPatch, flips: list[Outcome]) -> None:
    says = rf"^check_toy\[1\]: rounding flips a discrete value in {REDRAWS} draws; give it other inputs$"
    with pytest.raises(GraderFault, match=says):
        run(monkeypatch, flips)


@pytest.mark.parametrize(
    ("outcomes", "loaded", "says"),
    [
        (draw(X, X.double()[:1]), None, r"^check_toy\[1\]: the result has another shape in float64 than in its own"),
        (draw([X], [X.double()[:1]]), None, r"^check_toy\[1\]: \[0\] has another shape in float64"),
        (draw(X, Outcome("crashed", why="it ran out of memory")), None, r"check_toy\[1\]: .*it ran out of memory$"),
        (draw(X, X), raised("ImportError", "no numpy"), r"^the reference does not import: .*no numpy"),
        (draw(X, X), Outcome("crashed", why="killed"), r"^the reference does not import: killed$"),
    ],
    ids=["shape", "nested shape", "crash", "import", "crash on import"],
)
def test_fault_of_the_reference_stops_the_run(
    monkeypatch: pytest.MonkeyPatch, outcomes: list[Outcome], loaded: Outcome | None, says: str
) -> None:
    with pytest.raises(GraderFault, match=says):
        run(monkeypatch, outcomes, loaded=loaded)


def test_expected_exception_is_kept_as_an_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Raised("ValueError", ["ValueError"], "k_len", 'toy.py, line 3, in toy\n    raise ValueError("k_len")')
    error = Outcome("raised", raised=ours)
    found = run(monkeypatch, draw(error, error))
    assert found.native == error
    assert found.truths == {}
    assert compare(found, error, ["k_len"]) is None


def test_exception_that_the_reference_does_not_raise_itself_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    error = Outcome("raised", raised=Raised("TypeError", ["TypeError"], "oops", "toy.py, line 3, in toy\n    x + None"))
    with pytest.raises(GraderFault, match="the reference itself raises TypeError: oops"):
        run(monkeypatch, draw(error, error))


def test_reference_that_ends_at_its_first_run_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GraderFault, match=r"check_toy\[1\]: the reference itself did not give a result: the GPU"):
        run(monkeypatch, [Outcome("crashed", why="the GPU stopped it with an error")])
