"""The folder that checks may write to: empty, small, the only one, and gone with its worker."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from grader.kernel import LINUX
from grader.outcome import Outcome
from grader.sandbox import Caps
from grader.worker import Job, Run
from grader.workers import run_job
from grader.zygotes import Zygote

CHECKS = '''
from grader.checks import graded

@graded("save", weight=1, rows=[{"size": 1}, {"size": 2}])
def check_save(impl, scratch, size):
    """What is saved can be read again."""
    return impl.save(scratch, size)
'''
CAPS = Caps(2.0, 10.0, 60, 1024, 16)
LEVELS = pytest.mark.parametrize("skip", [(), ("namespaces",)], ids=["level A", "level B"])
Save = Callable[..., list[Outcome]]

pytestmark = pytest.mark.skipif(not LINUX, reason="the layers are Linux's")


@pytest.fixture(scope="module")
def save(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Save]:
    """The outcomes of both rows, of a function with this body."""
    folder = tmp_path_factory.mktemp("checks")
    folder.joinpath("check_saving.py").write_text(CHECKS)
    opened: dict[tuple[str, ...], Zygote] = {}

    def run(skip: tuple[str, ...], *lines: str) -> list[Outcome]:
        if skip not in opened:
            opened[skip] = Zygote([folder / "check_saving.py"], folder / "secret", skip)
            stack.callback(opened[skip].close)
        source = "import os\ndef save(scratch, size):\n" + "".join(f"    {line}\n" for line in lines)
        runs = [Run(row.name, row.task, 0, [(False, 0)]) for row in opened[skip].rows]
        job = Job("saving", [{"saving.py": source}], runs, None, ["save"], "cpu", "cpu", CAPS, [])
        return [outcomes[-1] for outcomes in run_job(opened[skip], job).outcomes]

    with ExitStack() as stack:
        yield run


@LEVELS
def test_every_run_writes_into_an_empty_folder_of_its_own(save: Save, skip: tuple[str, ...]) -> None:
    found = save(
        skip,
        "before = os.listdir(scratch)",
        "(scratch / 'sub').mkdir()",
        "(scratch / 'sub' / 'file').write_bytes(b'x' * size)",
        "os.replace(scratch / 'sub' / 'file', scratch / 'moved')",
        "return before + [(scratch / 'moved').read_bytes(), str(scratch)]",
    )
    assert [list(outcome.leaves.values())[1] for outcome in found] == [b"x", b"xx"]
    folder = list(found[0].leaves.values())[2]
    assert isinstance(folder, str)
    assert not Path(folder).exists()


@LEVELS
def test_nothing_else_can_be_written(save: Save, skip: tuple[str, ...]) -> None:
    for place in ("scratch.parent.parent / 'file'", "'/tmp/file'", "scratch.parent.parent.parent / 'file'"):
        for outcome in save(skip, f"open({place}, 'w')"):
            assert outcome.raised is not None
            assert "OSError" in outcome.raised.bases


@LEVELS
def test_file_is_bounded(save: Save, skip: tuple[str, ...]) -> None:
    for outcome in save(skip, "(scratch / 'big').write_bytes(bytes(17 << 20))"):
        assert outcome.raised is not None
        assert "File too large" in outcome.raised.message


def test_all_files_together_are_bounded_in_a_mount_namespace(save: Save) -> None:
    for outcome in save((), "for i in range(9): (scratch / str(i)).write_bytes(bytes(15 << 20))"):
        assert outcome.raised is not None
        assert "No space left" in outcome.raised.message


def test_folders_nested_too_deeply_are_removed_all_the_same(save: Save) -> None:
    lines = ("os.chdir(scratch)", "for _ in range(3000): os.mkdir('d'); os.chdir('d')", "return str(scratch)")
    for outcome in save(("namespaces",), *lines):
        assert not Path(str(outcome.leaves[""])).exists()


def test_report_says_where_the_disk_could_fill(tmp_path: Path) -> None:
    tmp_path.joinpath("check_saving.py").write_text(CHECKS)
    zygote = Zygote([tmp_path / "check_saving.py"], tmp_path / "secret", ("namespaces",))
    with ExitStack() as stack:
        stack.callback(zygote.close)
        assert "not protected: disk space" in zygote.probe(CAPS).describe()
