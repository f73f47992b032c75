"""The warm process that workers are forked from: torch and the checks are imported, nothing secret is.

It runs `python -I -m grader.zygote FD SETTING` with a cleared environment, enters its namespaces before it imports
torch, and answers three requests on the socket FD: `spawn` (with the worker's socket attached), `kill` and `warm`. The
submission's zygote is started before any reference is loaded; the trusted one, for the reference and the mutants, is
the same program.
"""

import gc
import json
import os
import signal
import socket
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import hugepages, isolation, namespaces, orphans, wire
from .device import CPU, is_gpu
from .errors import BadRequest
from .isolation import Ground
from .scratch import Folders

if TYPE_CHECKING:
    from .collecting import Collected


MANY_FORKS = 20  # from here on huge pages pay: they take the time that they save in about as many forks


@dataclass(frozen=True)
class Setting:
    """What the judge tells a zygote at its start. None of it is secret."""

    check_files: tuple[str, ...]  # in one folder
    secret: str  # the path of the reference: the canaries try to read it
    judge: int  # pid
    skip: tuple[str, ...] = ()  # layers to leave out
    device: str = CPU


class Zygote:
    """The state of this process: its ground, the checks it has collected."""

    def __init__(self, sock: socket.socket, setting: Setting) -> None:
        self.sock = sock
        self.setting = setting
        self.pid = os.getpid()  # as the machine sees it, before the namespaces
        check_files = [Path(file) for file in setting.check_files]
        check_folder = check_files[0].parent
        self.ground: Ground = isolation.prepare(check_folder, Path(setting.secret), setting.skip, setting.device)
        from .collecting import collect_checks, names_of
        from .gpu import check_build

        check_build(setting.device)
        self.checks: dict[str, Collected] = {c.row.name: c for c in collect_checks(check_files)}
        self.optimizers = any("optim" in file.read_text(encoding="utf-8") for file in check_files)
        namespaced = isolation.NAMESPACES not in self.ground.absent
        if namespaced:
            namespaces.hide(str(check_folder))
        isolation.not_dumpable()
        orphans.adopt()
        self.workers: dict[int, Path | None] = {}  # pid → the folder it may write to
        self.forks = 0
        saves = any("scratch" in names_of(found.function) for found in self.checks.values())
        self.folders = Folders(namespaced) if saves else None

    def spawn(self, fd: int, caps: dict[str, Any], uid: int | None) -> dict[str, Any]:
        """Fork a worker that talks on `fd`."""
        from . import worker
        from .canary import Bait
        from .sandbox import Caps, Orders

        user, why = isolation.user_of_slot(uid, self.ground)
        folder = self.folders.take(user) if self.folders else None
        ground, setting = self.ground, self.setting
        orders = Orders(Caps(**caps), user, ground.readable, folder, setting.skip, setting.device, ground.tasks)
        bait = Bait(self.setting.secret, (self.setting.judge, self.pid), orders.caps.memory_mib << 20, folder)
        self.forks += 1
        if self.forks == MANY_FORKS:
            hugepages.collapse()
        if self.ground.process_namespace is not None:
            namespaces.new_process_namespace(self.ground.process_namespace)
        pid = os.fork()
        if pid == 0:
            try:
                self.sock.close()
                worker.main(socket.socket(fileno=fd), self.checks, orders, bait)
            finally:
                os._exit(70)
        os.close(fd)
        self.workers[pid] = folder
        return {"pid": pid, "absent": {**self.ground.absent, **({"own user": why} if why else {})}}

    def kill(self, pid: int) -> dict[str, Any]:
        """End a worker with all it has started; its exit status and the CPU time it took."""
        for kill in (os.killpg, os.kill):
            try:
                kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        _, status, used = os.wait4(pid, 0)
        folder = self.workers.pop(pid)
        if self.ground.process_namespace is None:
            orphans.end(keep=self.workers)
        if self.folders and folder:
            self.folders.give_back(folder)
        return {"status": status, "cpu_seconds": used.ru_utime + used.ru_stime}

    def close(self) -> None:
        """End every worker."""
        for pid in list(self.workers):
            self.kill(pid)
        if self.folders:
            self.folders.close()

    def warm(self, message: dict[str, Any]) -> dict[str, Any]:
        """Run every check once on given: what torch imports and sets up at first use, forks would repeat."""
        import einops  # noqa: F401  # students may import it, given does not

        from .watch import Watch

        with Watch(message["watched"], "").on():  # sets up what every worker's watch needs
            found = self._warm({**message, "watched": []})
        gc.unfreeze()  # what pytest left of hidden rows, too
        gc.collect()
        gc.freeze()
        return found

    def _warm(self, message: dict[str, Any]) -> dict[str, Any]:
        import torch

        from . import loading, sandbox, worker
        from .outcome import encode

        if is_gpu(self.setting.device):  # after a gradient or a step here no fork could use the GPU
            if self.optimizers:
                torch.optim.AdamW([torch.zeros(1, requires_grad=True)])  # imports torch's compiler: a second and more
            return {"loaded": "values", "values": 1}
        if not message["packages"]:  # a kit holds no given of its own week
            weight = torch.zeros(1, requires_grad=True)
            torch.autograd.backward(torch.nn.functional.gelu(weight))
            if self.optimizers:
                torch.optim.AdamW([weight]).step()
            return {"loaded": "values", "values": 1}

        job = worker.job_from(message)
        job = replace(job, caps=replace(job.caps, check_cpu_seconds=0))  # ours, and slow the first time
        printed = sandbox.Printed(job.caps.output_kib)
        folder = self.folders.take(None) if self.folders else None
        loaded, *outcomes = worker.run_all(job, self.checks, printed, folder)
        for outcome in outcomes:
            encode(outcome)
        if self.folders and folder:
            self.folders.give_back(folder)
        sandbox.start_clock(0)
        loading.forget()
        return {"loaded": loaded.ended, "values": sum(outcome.ended == "values" for outcome in outcomes)}


def main() -> None:
    """Serve requests until the judge hangs up."""
    gc.disable()  # all that is imported stays: to look through it again and again takes a fifth of the time
    sock = socket.socket(fileno=int(sys.argv[1]))
    setting = Setting(**{**json.loads(sys.argv[2]), "skip": tuple(json.loads(sys.argv[2])["skip"])})
    try:
        zygote = Zygote(sock, setting)
    except BadRequest as error:
        wire.send_json(sock, {"error": str(error)})
        return
    gc.freeze()
    gc.enable()
    wire.send_json(sock, {"rows": [asdict(found.row) for found in zygote.checks.values()]})
    try:
        while True:
            request, fds = _receive(sock)
            wire.send_json(sock, _answer(zygote, request, fds))
    except (wire.Closed, ConnectionError):
        zygote.close()
        os._exit(0)  # torch takes half a second to end in order, and the judge waits for it


def _answer(zygote: Zygote, request: dict[str, Any], fds: list[int]) -> Any:
    match request["op"]:
        case "spawn":
            return zygote.spawn(fds[0], request["caps"], request["uid"])
        case "kill":
            return zygote.kill(request["pid"])
        case "warm":
            return zygote.warm(request["job"])
    raise ValueError(f"unknown request {request['op']!r}")


def _receive(sock: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """One request and the file descriptors that came with it."""
    size, fds, _, _ = socket.recv_fds(sock, wire.LENGTH.size, 1)
    if not size:
        raise wire.Closed("the judge has gone")
    (length,) = wire.LENGTH.unpack(size + wire.receive_bytes(sock, wire.LENGTH.size - len(size)))
    request: dict[str, Any] = json.loads(wire.receive_bytes(sock, length))
    return request, list(fds)


if __name__ == "__main__":
    main()
