"""Where checks compute: the CPU, a GPU, or a second device on a machine that has no GPU."""

import os
from glob import glob

from .errors import BadRequest

CPU, CUDA, TF32, SECOND = "cpu", "cuda", "cuda-tf32", "second"
PLACES = {CPU: "cpu", CUDA: "cuda", TF32: "cuda", SECOND: "meta"}  # as --device calls it → as torch does
TF32_EPSILON = 2.0**-10  # of a float32 on its way into a product, PTX ISA, "tf32"
GPUS = ("/dev/nvidia[0-9]*", "/dev/dxg")  # a container with one GPU of eight may have nvidia3 and no nvidia0
MEMORY = "/dev/nvidia-uvm"
GPU_NODES = (*GPUS, "/dev/nvidiactl", f"{MEMORY}*", "/dev/nvidia-caps/*", "/dev/nvidia-caps-imex-channels/*")
GPU_FILES = (
    *("/proc/driver/nvidia", "/proc/devices", "/proc/meminfo", "/proc/modules", "/proc/sys/vm/mmap_min_addr"),
    *("/proc/sys/vm/overcommit_memory", "/sys/module/nvidia*", "/sys/bus/pci/devices", "/sys/devices/pci*"),
    *("/sys/devices/system", "/etc/nvidia", "/usr/share/nvidia", "/usr/lib/wsl", "/usr/local/cuda*"),
    *("/usr/local/nvidia", "/run/opengl-driver"),
)
LIBRARIES = "LD_LIBRARY_PATH"  # on some clusters the driver's library is found by it alone


def check_device(device: str) -> None:
    """Refuse a device that is not there.

    Raises:
        BadRequest: nobody calls a device so, this machine has no GPU, or its driver is not wholly loaded.
    """
    if device not in PLACES:
        raise BadRequest(f"--device must be one of {', '.join(PLACES)}, got '{device}'.")
    if not is_gpu(device):
        return
    nodes = gpu_nodes()
    if not nodes:
        raise BadRequest(
            f"--device {device}: this machine has no NVIDIA GPU (there is no {GPUS[0]}). Use --device cpu; "
            f"--device {SECOND} finds tensors that are left on the CPU without one."
        )
    if MEMORY not in nodes and GPUS[1] not in nodes:  # the first CUDA program after a start of the machine loads it
        raise BadRequest(
            f"--device {device}: the GPU's driver has not loaded its memory module (there is no {MEMORY}). "
            "Run `nvidia-modprobe -u -c 0`, or any CUDA program, once."
        )


def is_gpu(device: str) -> bool:
    return PLACES[device] == "cuda"


def place_of(device: str, second: bool | None, draws: bool, draws_on: str) -> str:
    """Where a check computes, by what it is marked for (checks.py).

    Args:
        device: where the checks are to run.
        draws_on: where those run that compare what a GPU drew.
    """
    if draws and is_gpu(device):
        return draws_on
    if second is not None and not is_gpu(device):
        return SECOND if second else CPU
    return device


def gpu_nodes() -> list[str]:
    """The device files that a process needs to compute on the GPU; none on a machine without one."""
    if not any(glob(pattern) for pattern in GPUS):
        return []
    return sorted(path for pattern in GPU_NODES for path in glob(pattern))


def gpu_files() -> list[str]:
    """What the driver and its libraries read."""
    found = {path for pattern in GPU_FILES for path in glob(pattern)}
    return sorted(found | {path for path in os.environ.get(LIBRARIES, "").split(":") if os.path.isabs(path)})
