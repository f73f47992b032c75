"""Where checks compute, and what is said where that is not possible. No test here needs a GPU."""

from pathlib import Path

import pytest
import torch

from grader import device, gpu, opening, zygotes
from grader.collect import collect
from grader.course import Course, load_course
from grader.device import CPU, CUDA, SECOND, TF32
from grader.errors import BadRequest, GpuOutOfReach, GraderFault
from grader.grade import Options, grade
from grader.jobs import jobs_of
from grader.opening import GIVEN_UP_FOR_GPU, open_session
from grader.rng import Mode, Rng

ROOT = Path(__file__).resolve().parents[2]
MODULES = [pytest.param(name, marks=pytest.mark.slow) for name in load_course(ROOT).modules]


@pytest.mark.parametrize("impl", ["reference", "assignments/given"])
@pytest.mark.parametrize("module", MODULES)
def test_right_implementations_are_right_on_another_device(course: Course, module: str, impl: str) -> None:
    week = course.module(module)
    [submission] = collect(ROOT / impl / f"{module}.py", module, week.upstream)
    with open_session(course, week, seed=4, device=SECOND) as session:
        record = grade(session, submission, "", Options(ban=False, device=SECOND))
    assert [check.name for check in record.checks if check.status != "passed"] == []
    assert record.device == SECOND


def test_a_mask_left_on_the_cpu_is_told_on_a_machine_without_a_gpu(graded_source: object, reference: str) -> None:
    record = graded_source(reference.replace("causal_mask(x.shape[1], device=x.device)", "causal_mask(x.shape[1])"))  # type: ignore[operator]
    [check] = [check for check in record.checks if check.status != "passed"]
    assert check.name == "check_mha_on_another_device"
    assert "One tensor is where the inputs are, another was left on the CPU." in check.message
    assert "(meta is a stand-in for a GPU here.)" in check.message
    assert "attention.py, line " in check.message
    assert check.diagnosis.mutant == "mha_mask_on_cpu"


def test_unknown_device_and_missing_gpu_are_one_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "glob", lambda pattern: [])
    with pytest.raises(BadRequest, match=r"^--device must be one of cpu, cuda, cuda-tf32, second, got 'tpu'\.$"):
        device.check_device("tpu")
    with pytest.raises(BadRequest, match=r"this machine has no NVIDIA GPU .* --device second finds tensors"):
        device.check_device(CUDA)
    device.check_device(SECOND)


def test_a_gpu_is_seen_by_its_device_files(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"/dev/nvidia[0-9]*": ["/dev/nvidia0"], "/dev/nvidiactl": ["/dev/nvidiactl"]}
    monkeypatch.setattr(device, "glob", lambda pattern: there.get(pattern, []))
    device.check_device(CUDA)
    assert device.gpu_nodes() == ["/dev/nvidia0", "/dev/nvidiactl"]
    monkeypatch.setattr(device, "glob", lambda pattern: there.get(pattern, []) if "ctl" in pattern else [])
    assert device.gpu_nodes() == []  # the driver is there, no GPU is


def test_a_cpu_run_hides_gpus_and_a_gpu_run_shows_the_chosen_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert zygotes._visible_gpus(CPU) == {"CUDA_VISIBLE_DEVICES": ""}
    assert zygotes._visible_gpus(CUDA)["CUDA_VISIBLE_DEVICES"] == "1"


def test_workers_share_the_memory_of_a_gpu_and_have_no_limit_of_their_own(course: Course) -> None:
    module = course.module("attention")
    caps = jobs_of(course, module, CUDA, gpu_workers=4).caps
    assert (caps.gpu_share, caps.memory_mib) == (0.25, 0)
    assert jobs_of(course, module, CPU).caps.memory_mib == course.limits.memory_mib


class FakeZygote:
    """Whose workers reach the GPU, or not."""

    def __init__(self, error: Exception | None) -> None:
        self.error, self.closed = error, False

    def probe(self, caps: object) -> None:
        if self.error:
            raise self.error

    def close(self) -> None:
        self.closed = True


def test_layers_are_given_up_one_by_one_until_a_worker_reaches_the_gpu(course: Course) -> None:
    caps = jobs_of(course, course.module("attention"), CUDA).caps
    started = [[FakeZygote(GpuOutOfReach("no such device"))], [FakeZygote(None)], [FakeZygote(None)]]
    assert opening._probed(iter(started), caps) is started[1]  # type: ignore[arg-type, comparison-overlap]
    assert [zygote.closed for [zygote] in started] == [True, False, False]
    never = [[FakeZygote(GpuOutOfReach("the driver is too old"))] for _ in GIVEN_UP_FOR_GPU]
    with pytest.raises(BadRequest, match=r"^No worker can open the GPU: the driver is too old\. Use --device cpu\.$"):
        opening._probed(iter(never), caps)  # type: ignore[arg-type]
    assert all(zygote.closed for [zygote] in never)


def test_another_fault_closes_the_zygotes_and_is_told_as_it_is(course: Course) -> None:
    broken = FakeZygote(GraderFault("it ended"))
    with pytest.raises(GraderFault, match="it ended"):
        opening._probed(iter([[broken]]), jobs_of(course, course.module("attention"), CPU).caps)  # type: ignore[arg-type]
    assert broken.closed


@pytest.mark.skipif(torch.cuda.is_available(), reason="looks at a machine without a GPU")
def test_a_worker_without_a_gpu_says_why_it_cannot_open_one() -> None:
    assert gpu.start(CPU, 1.0) == ""
    assert gpu.start(CUDA, 1.0) != ""


def test_only_an_error_of_an_open_gpu_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    illegal = RuntimeError("CUDA error: an illegal memory access was encountered")
    assert not gpu.is_broken(illegal)
    monkeypatch.setattr(gpu, "_is_open", lambda: True)
    assert gpu.is_broken(illegal)
    assert not gpu.is_broken(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_tf32_moves_inputs_by_its_own_rounding_step() -> None:
    still = Rng(3, Mode(wide=True)).randn(200)
    for tf32, step in ((False, 2.0**-23), (True, 2.0**-10)):
        moved = Rng(3, Mode(True, 1), tf32=tf32).randn(200)
        relative = ((moved - still) / still).abs()
        torch.testing.assert_close(relative, torch.full_like(relative, step))


def test_a_generator_draws_where_the_inputs_are() -> None:
    assert Rng(1).generator(5).device.type == "cpu"
    assert Rng(1, device=SECOND).generator(5).device.type == "cpu"  # there the CPU draws
    assert Rng(1).generator(5).initial_seed() == 5


def test_every_device_has_a_place_of_torch() -> None:
    assert {name: device.is_gpu(name) for name in device.PLACES} == {CPU: False, CUDA: True, TF32: True, SECOND: False}
