"""Where checks compute, and what is said where that is not possible. No test here needs a GPU."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from grader import device, gpu, opening, sandbox, worker, zygotes
from grader.collect import collect
from grader.collecting import RowId
from grader.course import Course, load_course
from grader.demo import run_demo
from grader.device import CPU, CUDA, SECOND, TF32
from grader.errors import BadRequest, GpuOutOfReach, GraderFault
from grader.expected import Expected, Truth
from grader.frozen import _elsewhere
from grader.grade import grade
from grader.jobs import jobs_of
from grader.opening import GIVEN_UP_FOR_GPU, open_session
from grader.options import Options
from grader.outcome import Outcome, TensorLeaf
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
    assert {check.device for check in record.checks} <= {SECOND, CPU}
    assert bool(record.ran_elsewhere()) == (CPU in {check.device for check in record.checks})


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
    there = {
        "/dev/nvidia[0-9]*": ["/dev/nvidia3"],  # a container was given the fourth of several
        "/dev/nvidiactl": ["/dev/nvidiactl"],
        "/dev/nvidia-uvm*": ["/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"],
    }
    monkeypatch.setattr(device, "glob", lambda pattern: there.get(pattern, []))
    device.check_device(CUDA)
    assert device.gpu_nodes() == ["/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia3", "/dev/nvidiactl"]
    monkeypatch.setattr(device, "glob", lambda pattern: there.get(pattern, []) if "ctl" in pattern else [])
    assert device.gpu_nodes() == []  # the driver is there, no GPU is


def test_a_driver_that_is_not_wholly_loaded_is_told_with_the_command_that_loads_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = {"/dev/nvidia[0-9]*": ["/dev/nvidia0"], "/dev/nvidiactl": ["/dev/nvidiactl"]}
    monkeypatch.setattr(device, "glob", lambda pattern: there.get(pattern, []))
    with pytest.raises(BadRequest, match=r"there is no /dev/nvidia-uvm\)\. Run `nvidia-modprobe -u -c 0`"):
        device.check_device(CUDA)
    monkeypatch.setattr(device, "glob", lambda pattern: ["/dev/dxg"] if "dxg" in pattern else [])
    device.check_device(CUDA)  # the GPU of Windows, seen from its Linux, has no such module


def test_libraries_that_only_the_environment_names_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "glob", lambda pattern: [])
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/driver/lib64::lib")
    assert device.gpu_files() == ["/opt/driver/lib64"]
    assert zygotes._visible_gpus(CUDA)["LD_LIBRARY_PATH"] == "/opt/driver/lib64::lib"
    assert "LD_LIBRARY_PATH" not in zygotes._visible_gpus(CPU)


def test_a_cpu_run_hides_gpus_and_a_gpu_run_shows_the_chosen_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert zygotes._visible_gpus(CPU) == {"CUDA_VISIBLE_DEVICES": ""}
    assert zygotes._visible_gpus(CUDA)["CUDA_VISIBLE_DEVICES"] == "1"
    assert zygotes._visible_gpus(CUDA)["PYTORCH_NVML_BASED_CUDA_CHECK"] == "1"  # else no fork could use the GPU


def test_workers_share_the_memory_of_a_gpu_and_have_no_limit_of_their_own(course: Course) -> None:
    module = course.module("attention")
    caps = jobs_of(course, module, CUDA, gpu_workers=4).caps
    assert (caps.gpu_share, caps.memory_mib) == (0.18, 0)  # a fifth may run the known mistakes at the same time
    assert jobs_of(course, module, CUDA).caps.gpu_share == 1
    assert jobs_of(course, module, CPU).caps.memory_mib == course.limits.memory_mib


@pytest.mark.parametrize(
    ("asked", "second", "draws", "place"),
    [
        (CPU, None, False, CPU),
        (CPU, True, False, SECOND),
        (CPU, False, True, CPU),
        (SECOND, None, False, SECOND),
        (SECOND, False, False, CPU),
        (CUDA, False, False, CUDA),
        (CUDA, True, False, CUDA),
        (CUDA, None, True, "where it is drawn"),
    ],
)
def test_a_check_runs_where_its_marks_allow(asked: str, second: bool | None, draws: bool, place: str) -> None:
    assert device.place_of(asked, second, draws, "where it is drawn") == place


def test_time_limits_on_a_gpu_leave_room_for_the_first_use_of_its_kernels(course: Course) -> None:
    caps = jobs_of(course, course.module("attention"), CUDA).caps
    assert caps.check_cpu_seconds == 3 * course.limits.check_cpu_seconds
    assert caps.check_wall_seconds == 3 * course.limits.check_wall_seconds
    assert caps.submission_cpu_seconds == 3 * course.limits.submission_cpu_seconds


def test_draws_are_compared_on_the_gpu_but_in_a_kit_whose_answers_were_drawn_on_a_cpu(
    course: Course, tmp_path: Path
) -> None:
    jobs = jobs_of(course, course.module("attention"), CUDA)
    assert jobs.draws_on == CUDA
    assert replace(jobs, course=replace(course, root=tmp_path)).draws_on == CPU


class FakeZygote:
    """Whose workers reach the GPU, or not."""

    def __init__(self, error: Exception | None) -> None:
        self.error, self.closed = error, False

    def probe(self, caps: object) -> None:
        if self.error:
            raise self.error

    def close(self) -> None:
        self.closed = True


REFUSED = GpuOutOfReach("no such device")


def probed(course: Course, *errors: Exception | None) -> tuple[list[FakeZygote], FakeZygote | Exception]:
    """What is started in turn where a worker with each of GIVEN_UP_FOR_GPU left out ends so, and what is used."""
    started = [FakeZygote(errors[0])]

    def start(skip: Sequence[str]) -> list[FakeZygote]:
        started.append(FakeZygote(errors[GIVEN_UP_FOR_GPU.index(tuple(skip))]))
        return started[-1:]

    caps = jobs_of(course, course.module("attention"), CUDA).caps
    try:
        [used] = opening._probed(started[:1], start, GIVEN_UP_FOR_GPU, caps)  # type: ignore[arg-type]
    except (BadRequest, GraderFault) as error:
        return started, error
    return started, used  # type: ignore[return-value]


def test_layers_are_given_up_one_by_one_until_a_worker_reaches_the_gpu(course: Course) -> None:
    all_ = len(GIVEN_UP_FOR_GPU)
    started, used = probed(course, *[None] * all_)
    assert started == [used]
    started, used = probed(course, REFUSED, REFUSED, *[None] * (all_ - 2))
    assert used is started[-1]
    assert len(started) == 4  # with all layers, with none, without the first, without the second
    assert [zygote.closed for zygote in started] == [True, True, True, False]
    started, used = probed(course, *[REFUSED] * (all_ - 1), None)
    assert used is started[1]
    assert [zygote.closed for zygote in started] == [zygote is not used for zygote in started]


def test_a_gpu_that_is_out_of_reach_without_any_layer_is_told_at_once(course: Course) -> None:
    started, error = probed(course, *[GpuOutOfReach("the driver is too old")] * len(GIVEN_UP_FOR_GPU))
    assert str(error) == "No worker can open the GPU: the driver is too old. Use --device cpu."
    assert [zygote.closed for zygote in started] == [True, True]


def test_another_fault_closes_the_zygotes_and_is_told_as_it_is(course: Course) -> None:
    started, error = probed(course, GraderFault("it ended"), *[None] * (len(GIVEN_UP_FOR_GPU) - 1))
    assert str(error) == "it ended"
    assert [zygote.closed for zygote in started] == [True]
    started, error = probed(course, REFUSED, GraderFault("it ended"), *[None] * (len(GIVEN_UP_FOR_GPU) - 2))
    assert str(error) == "it ended"
    assert all(zygote.closed for zygote in started)


@pytest.mark.skipif(torch.cuda.is_available(), reason="looks at a machine without a GPU")
def test_a_worker_without_a_gpu_says_why_it_cannot_open_one() -> None:
    assert gpu.start(CPU, 1.0) == ""
    assert gpu.start(CUDA, 1.0) != ""


@pytest.mark.skipif(torch.version.cuda is not None, reason="this PyTorch is built with CUDA")
def test_a_pytorch_without_cuda_is_told_before_layers_are_given_up(
    course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "check_device", lambda device: None)
    with (
        pytest.raises(BadRequest, match=r"^--device cuda: PyTorch \S+ was built without CUDA\. Install it as "),
        open_session(course, course.module("attention"), seed=0, device=CUDA),
    ):
        pass
    gpu.check_build(SECOND)


@pytest.mark.skipif(torch.cuda.is_available(), reason="looks at a machine without a GPU")
def test_a_demo_that_cannot_open_the_gpu_says_why_in_one_line(
    course: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    week = course.module("training")
    with pytest.raises(BadRequest, match=r"^--device cuda: PyTorch \S+ was built without CUDA"):
        run_demo(course, week, ROOT / "reference", tmp_path, print, device=CUDA)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(BadRequest, match=r"^--device cuda: PyTorch cannot use the GPU: .+\. Use --device cpu\.$"):
        run_demo(course, week, ROOT / "reference", tmp_path, print, device=CUDA)


class FakeGpu:
    """Stands for torch.cuda: open, with so many bytes in use, and an answer to synchronize."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.in_use, self.peak = error, 0, 0

    def is_initialized(self) -> bool:
        return True

    def synchronize(self) -> None:
        if self.error:
            raise self.error

    def manual_seed_all(self, seed: int) -> None:
        self.seed = seed

    def reset_peak_memory_stats(self) -> None:
        self.peak = self.in_use

    def memory_allocated(self) -> int:
        return self.in_use

    def max_memory_allocated(self) -> int:
        return self.peak


ILLEGAL = RuntimeError("CUDA error: an illegal memory access was encountered")


def test_a_gpu_is_broken_when_it_answers_no_more_whatever_was_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not gpu.is_broken()  # none is open
    monkeypatch.setattr(torch, "cuda", FakeGpu())
    assert not gpu.is_broken()
    monkeypatch.setattr(torch, "cuda", FakeGpu(ILLEGAL))
    assert gpu.is_broken()


def ended_with(call: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> Outcome | int:
    """The outcome of a call in a worker, or the exit code of the worker."""

    def stop(code: int) -> None:
        raise Ended(code)

    monkeypatch.setattr(worker.os, "_exit", stop)
    try:
        return worker.attempt(call, sandbox.Printed(1))
    except Ended as ended:
        return int(str(ended))


class Ended(BaseException):
    """In place of the end of the process."""


def raises(error: Exception) -> Callable[[], object]:
    def call() -> object:
        raise error

    return call


def test_an_error_of_the_gpu_behind_another_exception_ends_the_worker_in_its_own_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "cuda", FakeGpu(ILLEGAL))
    assert ended_with(lambda: 1, monkeypatch) == gpu.BROKEN  # it shows when the worker waits for the GPU
    assert ended_with(raises(ValueError("a shape")), monkeypatch) == gpu.BROKEN


def test_a_message_that_speaks_of_cuda_does_not_end_a_worker_whose_gpu_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "cuda", FakeGpu())
    found = ended_with(raises(RuntimeError("CUDA error: invalid configuration argument")), monkeypatch)
    assert isinstance(found, Outcome)
    assert (found.ended, found.raised.kind if found.raised else "") == ("raised", "RuntimeError")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
    ids=["torch's allocator", "the driver", "cuBLAS"],
)
def test_a_full_gpu_is_out_of_memory_whoever_says_so(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "cuda", FakeGpu())
    found = ended_with(raises(error), monkeypatch)
    assert isinstance(found, Outcome)
    assert (found.ended, found.why) == ("crashed", "it ran out of memory")


def test_peak_memory_is_what_a_run_took_beyond_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeGpu()
    fake.in_use = 32 << 20  # cuBLAS keeps a workspace
    monkeypatch.setattr(torch, "cuda", fake)

    def takes_five_mib() -> int:
        fake.peak = fake.in_use + (5 << 20)
        return 1

    found = ended_with(takes_five_mib, monkeypatch)
    assert isinstance(found, Outcome)
    assert found.gpu_bytes == 5 << 20


def test_a_submission_that_switches_tf32_on_is_graded_without(monkeypatch: pytest.MonkeyPatch) -> None:
    for switch in ("high", "medium"):
        torch.set_float32_matmul_precision(switch)
        gpu.set_precision(CUDA)
        assert torch.get_float32_matmul_precision() == "highest"
        assert not torch.backends.cudnn.allow_tf32
    gpu.set_precision(TF32)
    assert torch.backends.cuda.matmul.allow_tf32
    gpu.set_precision(CPU)


def test_a_kit_allows_more_on_a_gpu_and_expects_results_where_the_inputs_are() -> None:
    leaves = {
        "follows": TensorLeaf(torch.ones(2), SECOND),
        "any": TensorLeaf(torch.ones(2), CPU),
        "half": TensorLeaf(torch.ones(2, dtype=torch.bfloat16), CPU),
    }
    truths = {path: Truth(leaf.values.double(), 1e-7, 6e-8) for path, leaf in leaves.items()}
    row = RowId("check_toy[1]", "check_toy", "toy", 1, False, "Toy.", "", "")
    frozen = Expected(row, 1, Outcome("values", dict(leaves)), truths)
    allowed = {CUDA: {"any": 4, "half": 4}, TF32: {"any": 4 * 2.0**13, "half": 4}, SECOND: {"any": 1, "half": 1}}
    for place, factors in allowed.items():
        found = _elsewhere(frozen, place)
        assert {path: found.truths[path].estimate / 1e-7 for path in factors} == pytest.approx(factors)
        where = {path: leaf.device for path, leaf in found.native.leaves.items() if isinstance(leaf, TensorLeaf)}
        assert where == {"follows": SECOND if place == SECOND else "cuda", "any": "", "half": ""}


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
