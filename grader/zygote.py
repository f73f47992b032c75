"""The warm process that workers are forked from: torch and the checks are imported, nothing secret is.

It runs `python -I -m grader.zygote FD CHECK_FILE` with a cleared environment and answers three requests on the
socket FD: `spawn` (with the worker's socket attached), `kill` and `warm`. The submission's zygote is started before
any reference is loaded; the trusted one, for the reference and the mutants, is the same program.
"""

import gc
import json
import os
import signal
import socket
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import loading, sandbox, wire, worker
from .collecting import Collected, collect_checks
from .errors import BadRequest


def main() -> None:
    """Serve requests until the judge hangs up."""
    sock = socket.socket(fileno=int(sys.argv[1]))
    check_file = Path(sys.argv[2])
    _hide(check_file)
    try:
        checks = {found.row.name: found for found in collect_checks(check_file)}
    except BadRequest as error:
        wire.send_json(sock, {"error": str(error)})
        return
    wire.send_json(sock, {"rows": [asdict(found.row) for found in checks.values()]})
    while True:
        try:
            request, fds = _receive(sock)
        except wire.Closed:
            return
        wire.send_json(sock, _answer(request, fds, checks, sock))


def _answer(request: dict[str, Any], fds: list[int], checks: dict[str, Collected], sock: socket.socket) -> Any:
    match request["op"]:
        case "spawn":
            return {"pid": _spawn(fds[0], checks, sock)}
        case "kill":
            return _kill(request["pid"])
        case "warm":
            return {"warmed": _warm(worker.job_from(request["job"]), checks)}
    raise ValueError(f"unknown request {request['op']!r}")


def _spawn(fd: int, checks: dict[str, Collected], sock: socket.socket) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            sock.close()
            worker.main(socket.socket(fileno=fd), checks)
        finally:
            os._exit(70)
    os.close(fd)
    return pid


def _kill(pid: int) -> dict[str, Any]:
    """End a worker with its process group and collect its exit status and the CPU seconds it used."""
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    _, status, usage = os.wait4(pid, 0)
    return {"status": status, "cpu": usage.ru_utime + usage.ru_stime}


def _warm(job: worker.Job, checks: dict[str, Collected]) -> int:
    """Run every check once on given: torch imports much more at its first gradient, which forks would repeat."""
    printed = sandbox.Printed(job.caps.output_kib)
    endings = [outcome.ended for outcome in worker.run_all(job, checks, printed)]
    sandbox.start_clock(0)
    loading.forget()
    gc.collect()
    gc.freeze()
    return endings.count("values")


def _hide(check_file: Path) -> None:
    """Take the course folder off the import path, so that `import reference` finds nothing."""
    course = check_file.resolve().parents[2]
    sys.path[:] = [entry for entry in sys.path if entry and Path(entry).resolve() != course]


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
