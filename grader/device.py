"""Where checks compute: the CPU, a GPU, or a second device on a machine that has no GPU."""

from glob import glob

from .errors import BadRequest

CPU, CUDA, TF32, SECOND = "cpu", "cuda", "cuda-tf32", "second"
PLACES = {CPU: "cpu", CUDA: "cuda", TF32: "cuda", SECOND: "meta"}  # as --device calls it → as torch does
TF32_EPSILON = 2.0**-10  # of a float32 on its way into a product, PTX ISA, "tf32"
GPU_NODES = ("/dev/nvidia[0-9]*", "/dev/nvidiactl", "/dev/nvidia-uvm*", "/dev/nvidia-caps/*", "/dev/dxg")
GPU_FILES = (
    *("/proc/driver/nvidia", "/proc/devices", "/sys/module/nvidia*", "/sys/bus/pci/devices", "/sys/devices/system"),
    *("/etc/nvidia", "/usr/share/nvidia", "/usr/lib/wsl", "/usr/local/cuda*"),
)


def check_device(device: str) -> None:
    """Refuse a device that is not there.

    Raises:
        BadRequest: nobody calls a device so, or this machine has no GPU.
    """
    if device not in PLACES:
        raise BadRequest(f"--device must be one of {', '.join(PLACES)}, got '{device}'.")
    if is_gpu(device) and not gpu_nodes():
        raise BadRequest(
            f"--device {device}: this machine has no NVIDIA GPU (there is no /dev/nvidia0). Use --device cpu; "
            f"--device {SECOND} finds tensors that are left on the CPU without one."
        )


def is_gpu(device: str) -> bool:
    return PLACES[device] == "cuda"


def gpu_nodes() -> list[str]:
    """The device files that a process needs to compute on the GPU; none on a machine without one."""
    found = sorted(path for pattern in GPU_NODES for path in glob(pattern))
    return found if any(path.startswith(("/dev/nvidia0", "/dev/dxg")) for path in found) else []


def gpu_files() -> list[str]:
    """What the driver reads."""
    return sorted(path for pattern in GPU_FILES for path in glob(pattern))
