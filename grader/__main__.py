"""`grader` and `python -m grader`: runs the command line and turns exceptions into one line and an exit code."""

import os
import shutil
import sys
import textwrap

INTERRUPTED = 130
NO_FORK = (
    "a check runs in a process forked for it, which Windows cannot do. Use its Linux subsystem: run `wsl --install` "
    "once, open Ubuntu, and work there as on Linux."
)
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def main() -> None:
    """0: done; 1: something failed; 2: asked for the impossible; 3: the grader is broken; 130: interrupted."""
    if not hasattr(os, "fork"):
        sys.exit(_say(f"grader: {NO_FORK}", 2))
    if sys.path[0] == os.getcwd():  # python -m: a random.py that lies here must not hide Python's own
        sys.path.append(sys.path.pop(0))
    for name in THREADS:  # before torch is imported; more threads only get in the way of small tensors
        os.environ.setdefault(name, "1")
    from .cli import app
    from .errors import BadRequest, GraderFault

    try:
        app(prog_name="grader")
    except BadRequest as error:
        sys.exit(_say(f"grader: {error}", 2))
    except GraderFault as error:
        sys.exit(_say(f"grader: the grader itself failed, nobody's grade is affected: {error}", 3))
    except Exception as error:
        if "GRADER_DEBUG" in os.environ:
            raise
        what = f"{type(error).__name__}: {error}"
        sys.exit(_say(f"grader: the grader itself failed ({what}). Set GRADER_DEBUG=1 to see where, and report it.", 3))
    except SystemExit as end:
        if end.code == INTERRUPTED:
            _say("grader: interrupted; the same command goes on where it stopped", INTERRUPTED)
        raise


def _say(line: str, code: int) -> int:
    """One line on stderr, wrapped at words on a terminal."""
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns
        line = "\n".join(textwrap.fill(part, width, break_on_hyphens=False) for part in line.splitlines())
    print(line, file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
