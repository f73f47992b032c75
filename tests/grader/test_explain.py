"""Every sentence that a student reads about a failed check, from the two outcomes alone."""

import numpy as np
import pytest
import torch
from outcomes import INF, MASK, NAN, SIGNATURE, X, changed, mismatch, raised
from torch import Tensor

from grader.checks import gradients
from grader.compare import Mismatch
from grader.explain import BY_HAND, DRAWN_ELSEWHERE, LEFT_BEHIND, TO_NUMPY, explain
from grader.outcome import Container, Outcome, Raised, TensorLeaf
from grader.rng import Rng


def says(right: object, got: object, allowed: float = 1e-6) -> str:
    return explain(mismatch(right, got, allowed), SIGNATURE)


def first_line(right: object, got: object, allowed: float = 1e-6) -> str:
    return says(right, got, allowed).splitlines()[0]


# --- how it ended ---


def test_time_out_and_crash_say_what_happened() -> None:
    timeout = Outcome("timeout", why="it did not end within 2 seconds")
    assert says(X, timeout) == "It did not end within 2 seconds."
    assert says(X, Outcome("crashed", why="it ran out of memory")) == "It ran out of memory."


def test_exception_is_shown_with_the_students_own_lines() -> None:
    trace = "attention.py, line 7, in softmax\n    return x / y"
    assert says(X, raised("TypeError", "no y", trace=trace)) == f"TypeError: no y\n{trace}"
    assert says(X, raised("TypeError", "no y")) == "TypeError: no y"


@pytest.mark.parametrize(
    ("message", "meaning"),
    [
        ("Expected all tensors to be on the same device, but got mat2 is on cpu, different from cuda:0", LEFT_BEHIND),
        ("indices should be either on cpu or on the same device as the indexed tensor (cpu)", LEFT_BEHIND),
        ("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first", TO_NUMPY),
        ("Expected a 'cuda' device type for generator but found 'cpu'", DRAWN_ELSEWHERE),
        ("No CUDA GPUs are available", BY_HAND),
    ],
)
def test_what_torch_says_of_two_devices_is_followed_by_what_to_do(message: str, meaning: str) -> None:
    assert says(X, raised("RuntimeError", message)) == f"RuntimeError: {message}\n{meaning}"


def test_missing_task_is_told_in_one_sentence() -> None:
    missing = Outcome("raised", raised=Raised("MissingTask", [], "softmax is not defined"))
    assert says(X, missing) == "softmax is not defined in your file."


def test_exception_without_a_message_is_shown_by_its_kind() -> None:
    assert says(X, raised("AssertionError", "", trace="attention.py, line 3, in f")).startswith(
        "AssertionError\nattent"
    )


@pytest.mark.parametrize(("kind", "article"), [("ValueError", "a"), ("IndexError", "an")])
def test_expected_exception_is_told_with_what_came_instead(kind: str, article: str) -> None:
    wanted = f"Expected {article} {kind} that names the argument, such as: bad k_len"
    right = raised(kind, "bad k_len")
    assert says(right, X) == f"{wanted}\nYours accepted it and returned a tensor of shape (2, 3, 5)."
    assert says(right, None) == f"{wanted}\nYours accepted it and returned None."
    assert says(right, raised("KeyError", "'k_len'")) == f"{wanted}\nYours raises KeyError: 'k_len'"
    assert says(right, raised(kind, "bad")) == f"{wanted}\nYours raises {kind}: bad, which names no argument"
    assert says(right, raised(kind, "")) == f"{wanted}\nYours raises {kind} without a message, which names no argument"


# --- structure and type ---


@pytest.mark.parametrize(
    ("right", "got", "text"),
    [
        (X, None, "expected a tensor of shape (2, 3, 5), got None. Is a return missing?"),
        (X, (X, X), "expected a tensor of shape (2, 3, 5), got a list or tuple of 2. Return the tensor alone."),
        (X, {"out": X}, "expected a tensor of shape (2, 3, 5), got a dict with out. Return the tensor alone."),
        (
            X,
            X.numpy(),
            "expected a tensor of shape (2, 3, 5), got a numpy.ndarray. Stay with torch from end to end: numpy knows "
            "no gradients, and a caller expects torch's types.",
        ),
        (X, 1.5, "expected a tensor of shape (2, 3, 5), got float 1.5."),
        (X, "no", "expected a tensor of shape (2, 3, 5), got str 'no'."),
        ({"a": 1, "b": 2}, {"a": 1}, "missing: b."),
        ({"a": 1}, {"b": 1, "a": 1, "c": 2}, "not expected: b, c."),
        ({"x": {"a": 1}}, {"x": {"b": 1}}, "x: missing: a; not expected: b."),
        ({"a": 1}, [1], "expected a dict with a, got a list or tuple of 1."),
        (
            1.5,
            np.float64(1.5),
            "expected float 1.5, got a numpy.float64. Make it a plain Python number: float(x), int(x) or x.item().",
        ),
        ({"parameters": {"w": X}}, {"parameters": {"w": X, "b": X}}, "parameters: not expected: b."),
        ([1], {"<" * 900: 1}, f"expected a list or tuple of 1, got a dict with {'<' * 39}…."),
        (
            {},
            dict.fromkeys("abcdefghijklmnopqrstuvwxyz"),
            f"not expected: {', '.join('abcdefghijklmnopqrst')} and 6 more.",
        ),
        ({"a": 1}, {}, "missing: a."),
        (1, {}, "expected int 1, got a dict with nothing."),
        ([X, X], [X, None], "result 1: expected a tensor of shape (2, 3, 5), got None. Is a return missing?"),
        ([1, 2], [1], "expected [1, 2], got [1]."),
        ({"ids": [[b"a"], [1]]}, {"ids": [["a"], [1]]}, "ids: expected [[b'a'], [1]], got [['a'], [1]]."),
        ([X, [1, 2]], [X, [2, 1]], "result 1: expected [1, 2], got [2, 1]."),
        ([1, 2], [1, X], "result 1: expected int 2, got a tensor of shape (2, 3, 5)."),
        ([1, 2], "no", "expected a list or tuple of 2, got str 'no'."),
        ("a b", " a\n", "expected 'a b', got ' a\\n'."),
        ("a b", "a c", "expected a b, got a c."),
        ({"n": 1}, {"n": 1.0}, "n: expected int 1, got float 1.0."),
        ({"n": 1}, {"n": True}, "n: expected int 1, got bool True."),
        ({"n": 1}, {"n": None}, "n: expected int 1, got None."),
        (
            {"gradient of q": X},
            {"gradient of q": None},
            "gradient of q: expected a tensor of shape (2, 3, 5), got None. No gradient arrives there: is it detached "
            "(.data, torch.no_grad, a tensor made anew), or never used?",
        ),
        (
            {"output": X},
            {"output": None},
            "output: expected a tensor of shape (2, 3, 5), got None. Is a return missing?",
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_wrong_structure_or_type_names_both_and_the_next_step(right: object, got: object, text: str) -> None:
    assert says(right, got) == text


def test_wrong_shape_of_an_output_is_told_before_the_gradients_that_it_lacks() -> None:
    x = X.clone().requires_grad_()
    text = says(gradients(2 * x, torch.ones_like(X), x=x), gradients((2 * x)[:1], torch.ones_like(X), x=x))
    assert text.startswith("output: expected shape (2, q_len 3, k_len 5), got (1, 3, 5).")


def test_type_of_a_foreign_value_has_its_article() -> None:
    assert says(1, object()) == "expected int 1, got an object."


def test_long_value_is_cut() -> None:
    assert len(says(X, "x" * 5000)) < 300
    assert len(says("y", "x" * 5000)) < 300


@pytest.mark.parametrize("right", [X, 1, "a", raised("ValueError", "no")], ids=["tensor", "int", "str", "exception"])
def test_int_of_any_number_of_digits_is_shown(right: object) -> None:
    """Python prints no int of more than 4,300 digits; a student may return one all the same."""
    assert "got" in says(right, -(10**5000)) or "returned" in says(right, -(10**5000))
    assert len(says(right, -(10**5000))) < 300


# --- one tensor: dtype, device, shape ---


def test_dtype_names_both() -> None:
    assert says(X, X.double()) == "expected dtype float32, got float64."
    assert says({"a": X > 0}, {"a": (X > 0).long()}) == "a: expected dtype bool, got int64."


def test_device_names_both() -> None:
    one, other = (Outcome("values", {"": TensorLeaf(X, device)}) for device in ("cuda", "cpu"))
    assert (
        says(one, other)
        == "expected a tensor on cuda, got one on cpu. Make new tensors where the input is: device=x.device."
    )


@pytest.mark.parametrize(
    ("path", "right", "got", "text"),
    [
        ("", X, X[:, :2], "expected shape (2, q_len 3, k_len 5), got (2, 2, 5)."),
        ("", X, X.sum(), "expected shape (2, q_len 3, k_len 5), got ()."),
        ("", X[0, 0], X[0, 0, :2], "expected shape (5,), got (2,)."),
        ("output", X, X[0], "output: expected shape (2, q_len 3, k_len 5), got (3, 5)."),
        ("gradient of q", X, X[0], "gradient of q: expected shape (2, q_len 3, head_dim 5), got (3, 5)."),
        ("q after the call", X, X[0], "q after the call: expected shape (2, q_len 3, head_dim 5), got (3, 5)."),
        ("other", X, X[0], "other: expected shape (2, 3, 5), got (3, 5)."),
    ],
)
def test_shape_is_told_with_the_names_of_the_axes(path: str, right: Tensor, got: Tensor, text: str) -> None:
    assert first_line({path: right} if path else right, {path: got} if path else got) == text


def test_one_of_several_results_is_told_by_its_number() -> None:
    assert first_line([X, X], [X, X[0]]) == "result 1: expected shape (2, q_len 3, k_len 5), got (3, 5)."


def test_shape_is_followed_by_the_relation_between_the_two() -> None:
    relation = "Your shape is the expected one with q_len and k_len swapped and its values are right."
    assert says(X, X.transpose(1, 2)) == f"expected shape (2, q_len 3, k_len 5), got (2, 5, 3).\n{relation}"


# --- one tensor: values ---


def test_first_wrong_entry_is_told_by_its_axes() -> None:
    got = changed(1, 2, 3, to=7.5)
    got[1, 2, 4] = -7.5
    right = f"{float(X[1, 2, 3]):.4g}"
    off = f"{max(abs(X[1, 2, 3] - 7.5), abs(X[1, 2, 4] + 7.5)):.2g}"
    assert first_line(X, got) == (
        f"2 of 30 entries differ; the first at [1, q_len 2, k_len 3]: expected {right}, got 7.5 "
        f"(up to {off} off where 0.000001 is allowed)."
    )


def test_path_stands_before_the_entries() -> None:
    assert says({"output": X}, {"output": X + 1}).startswith("output: all 30 entries differ; the first at [0, q_l")


def test_one_number_in_a_tensor_has_no_place() -> None:
    text = says(torch.tensor(1.0), torch.tensor(2.0))
    assert text == "1 of 1 entries differ; the first: expected 1, got 2 (up to 1 off where 0.000001 is allowed)."


def test_integers_are_told_in_full_and_without_a_tolerance() -> None:
    right, got = torch.tensor([[123456789, 4], [5, 6]]), torch.tensor([[123456780, 4], [5, 7]])
    text = "2 of 4 entries differ; the first at [q_len 0, k_len 0]: expected 123456789, got 123456780."
    assert first_line(right, got) == text


@pytest.mark.parametrize(
    ("right", "got", "text"),
    [
        (1, 2, "expected 1, got 2."),
        (0.123456789, 0.5, "expected 0.123457, got 0.5."),
        (0.5, NAN, "expected 0.5, got nan."),
        ("a", "b", "expected a, got b."),
        (True, False, "expected True, got False."),
        ({"shape": [2, 3]}, {"shape": [2, 4]}, "shape: expected [2, 3], got [2, 4]."),
    ],
)
def test_plain_values_are_told_side_by_side(right: object, got: object, text: str) -> None:
    assert says(right, got) == text


def test_relation_follows_the_first_wrong_entry() -> None:
    assert says(X, 2 * X).splitlines()[1:] == ["Everything is 2 times too large."]
    assert says(X, changed(1, 2, 3, to=7.5)).splitlines()[1:] == ["Only k_len 3 is wrong."]
    assert says(X, Rng(2).randn(2, 3, 5)).count("\n") == 0


def test_relation_is_left_out_where_it_is_not_asked_for() -> None:
    for got in (2 * X, X.transpose(1, 2)):
        text = explain(mismatch(X, got), SIGNATURE, related=False)
        assert text == first_line(X, got)


def test_entries_that_differ_late_are_told_with_as_many_digits_as_it_takes() -> None:
    text = says(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.00001]))
    assert text.startswith("1 of 2 entries differ; the first at [1]: expected 2, got 2.00001 (up to 0.00001 off")


@pytest.mark.parametrize("error", [2e-6, 2e-5])
def test_small_error_is_not_called_a_scale_or_an_offset(error: float) -> None:
    """Lost precision is told by its size: nothing here is "1 times too large" or "too large by 1e-08"."""
    text = says(X, X + error * Rng(3).randn(2, 3, 5))
    assert "off where 0.000001 is allowed" in text
    assert "Everything" not in text


# --- one tensor: NaN and inf ---


@pytest.mark.parametrize(
    ("got", "what", "value"),
    [
        (changed(0, 1, 2, to=NAN), "1 NaN", "nan"),
        (changed(0, 1, 2, to=-INF), "1 inf", "-inf"),
        (X.masked_fill(torch.arange(5) == 2, INF), "6 inf", "inf"),
    ],
)
def test_nan_and_inf_are_counted_and_the_first_is_placed(got: Tensor, what: str, value: str) -> None:
    first = (got.isnan() | got.isinf()).nonzero()[0].tolist()
    where = f"{first[0]}, q_len {first[1]}, k_len {first[2]}"
    text = f"{what} among 30 entries; the first at [{where}]: expected {float(X[tuple(first)]):.4g}, got {value}."
    assert says(X, got) == text


def test_nan_and_inf_together_are_both_counted() -> None:
    got = changed(0, 1, 2, to=NAN)
    got[1, 1, 1] = INF
    assert says(X, got).startswith("1 NaN and 1 inf among 30 entries; the first at [0, q_len 1, k_len 2]: ")


def test_finite_number_where_nan_is_right_is_told() -> None:
    text = says(torch.tensor([1.0, NAN]), torch.tensor([1.0, 0.0]))
    assert text == "finite numbers among 2 entries; the first at [1]: expected nan, got 0."


# --- one tensor: bool ---

ROW_OF = torch.arange(3)[:, None]


@pytest.mark.parametrize(
    ("got", "text"),
    [
        (~MASK, "True and False are exchanged everywhere."),
        (MASK & (ROW_OF != 2), "Yours is False at 3 places that should be True; all others are right."),
        (MASK | (ROW_OF.T == 1), "Yours is True at 1 place that should be False; all others are right."),
        (MASK.tril(-1), "Yours is False at 3 places that should be True; all others are right."),
        (MASK.T, "q_len and k_len are exchanged."),
        (MASK.roll(1, 0), "It is right but shifted by one along q_len, towards the end."),
        (MASK.flip(1), "It is right but for the order along k_len, which is reversed."),
    ],
)
def test_bool_mask_is_told_by_its_surplus_or_its_shift(got: Tensor, text: str) -> None:
    assert says(MASK, got).splitlines()[1] == text


def test_bool_entry_is_told_as_true_and_false() -> None:
    text = "3 of 9 entries differ; the first at [q_len 0, k_len 0]: expected True, got False."
    assert first_line(MASK, MASK.tril(-1)) == text


def test_container_where_a_number_is_right_is_told() -> None:
    assert (
        explain(Mismatch("type", "a", 1, Container("list", ())), SIGNATURE)
        == "a: expected int 1, got a list or tuple of 0."
    )
