"""The reports drawn from records: what they must say, and what no stranger's text may do to them."""

import csv
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from grader.course import Course, Feedback, Limits, Module, Task
from grader.picture import draw, histogram
from grader.record import STATUSES, CheckRecord, Diagnosis, Picture, SubmissionRecord, write_whole
from grader.report import records_in, write_page, write_reports

MODULE = Module(
    week=1,
    title="Attention",
    hours=7,
    tasks={
        "softmax": Task(points=12, uses=[], name="softmax", number="1.1"),
        "weights": Task(points=20, uses=["softmax"], name="weights", number="1.2"),
    },
    name="attention",
)
COURSE = Course(Path(), "Language models", Limits(), Feedback(), {"attention": MODULE})
HOSTILE = (
    "<script>alert(1)</script></details></pre>\"'><img src=//evil.example/x onerror=x> \x1b[31m\u202e\u200b{{ 7*7 }}"
)
VOID = {"meta", "img", "br", "link", "input", "base"}


def check(name: str = "check_sums", task: str = "softmax", status: str = "passed", **values: object) -> CheckRecord:
    made = CheckRecord(name, task, status, 6.0 * (status == "passed"), 6.0, "", None, 0.001, 0.001, f"{name} says.")
    return replace(made, **values)


def submission(name: str = "ann", checks: list[CheckRecord] | None = None, **values: object) -> SubmissionRecord:
    checks = checks if checks is not None else [check()]
    made = SubmissionRecord(
        submission=name,
        module="attention",
        score=sum(each.points for each in checks),
        max_score=32.0,
        status="graded",
        seed=1234,
        device="cpu",
        isolation=["landlock", "seccomp"],
        versions={"torch": "2.9.1"},
        seconds=1.0,
        checks=checks,
    )
    return replace(made, **values)


def pages(folder: Path, *records: SubmissionRecord) -> tuple[str, str]:
    """The class page, and the page of the first record."""
    write_reports(folder, COURSE, list(records))
    whole = (folder / "index.html").read_text(encoding="utf-8")
    first = folder / records[0].submission / "attention.html"
    return whole, first.read_text(encoding="utf-8")


class Outline(HTMLParser):
    """The tags of a page, in balance or not, its ids, its links and the text a reader sees."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.uses: list[str] = []
        self.links: list[str] = []
        self.said: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), f"{tag} has the event handler {name}"
            if name == "id":
                self.ids.append(value or "")
            elif name == "aria-labelledby":
                self.uses += (value or "").split()
            elif name in {"href", "src"}:
                self.links.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.said.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.said).split())


def sound(page: str) -> Outline:
    """The outline of a page that is well formed, loads nothing and runs nothing."""
    outline = Outline(page)
    assert not outline.open
    assert len(outline.ids) == len(set(outline.ids))
    assert set(outline.uses) <= set(outline.ids)
    assert not {"script", "img", "iframe", "object", "link", "base", "form"} & set(outline.tags)
    assert {link[1:] for link in outline.links if link.startswith("#")} <= set(outline.ids)
    assert "//" not in page.replace("<!doctype html>", "")
    assert "@import" not in page
    assert "url(" not in page
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in page
    return outline


PICTURE = Picture(("query", "key"), "output[0]", [[0.5, -1.0, 0.0], [1.0, 2.0, 0.25]], [[0.5, "nan", 3.0], ["inf"] * 3])


def test_grades_csv_has_the_columns_of_the_design(tmp_path: Path) -> None:
    pages(tmp_path, submission("bo", [check(status="failed")]), submission("Ann"))
    assert (tmp_path / "grades.csv").read_text(encoding="utf-8") == (
        "submission,module,score,max_score,status\nAnn,attention,6,32,graded\nbo,attention,0,32,graded\n"
    )


@pytest.mark.parametrize("name", ["=cmd|' ' !A0", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "\u200b=1", "\uff1d1"])
def test_grades_csv_guards_cells_that_a_spreadsheet_would_run(tmp_path: Path, name: str) -> None:
    pages(tmp_path, submission(name))
    with (tmp_path / "grades.csv").open(encoding="utf-8", newline="") as file:
        cell = list(csv.reader(file))[1][0]
    assert cell.startswith("'")
    assert cell[1:] == name.replace("\u200b", "")


def test_grades_csv_quotes_commas_quotes_and_newlines(tmp_path: Path) -> None:
    pages(tmp_path, submission('Doe, "Jane"\nx'))
    with (tmp_path / "grades.csv").open(encoding="utf-8", newline="") as file:
        assert next(iter(list(csv.reader(file))[1:])) == ['Doe, "Jane"\nx', "attention", "6", "32", "graded"]


@pytest.mark.parametrize("name", ["", ".", "..", "../up", "a/b", "/etc", "index.html", "grades.csv"])
def test_a_name_that_is_no_folder_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is not the name of a folder"):
        write_reports(tmp_path, COURSE, [submission(), submission(name)])
    assert not list(tmp_path.iterdir())


def test_nothing_in_a_record_breaks_out_of_its_place(tmp_path: Path) -> None:
    bad = check(
        HOSTILE,
        "softmax",
        "failed",
        message=HOSTILE,
        sentence=HOSTILE,
        printed=HOSTILE,
        diagnosis=Diagnosis(HOSTILE, HOSTILE, [HOSTILE]),
        picture=replace(PICTURE, axes=(HOSTILE, HOSTILE), slice=HOSTILE),
    )
    hostile = submission(
        HOSTILE.replace("/", "\u2215"),
        [bad],
        problem=HOSTILE,
        notes=[HOSTILE],
        device=HOSTILE,
        isolation=[HOSTILE],
        versions={HOSTILE: HOSTILE},
    )
    for page in pages(tmp_path, hostile):
        sound(page.replace("//evil.example", "evil.example"))
        assert "{{ 7*7 }}" in page
        assert not set("\x1b\u202e\u200b") & set(page)


def test_a_lone_surrogate_does_not_stop_the_report(tmp_path: Path) -> None:
    _, page = pages(tmp_path, submission(checks=[check(status="error", message="ValueError: \ud800\udc80")]))
    assert "ValueError: \ufffd\ufffd" in page


def test_a_link_to_a_submission_is_a_folder_and_nothing_else(tmp_path: Path) -> None:
    page, _ = pages(tmp_path, submission("javascript:alert(1)#?"), submission("Zoë 100%"))
    assert {"javascript%3Aalert%281%29%23%3F/attention.html", "Zo%C3%AB%20100%25/attention.html"} <= set(
        Outline(page).links
    )


@pytest.mark.parametrize("status", STATUSES)
def test_each_status_is_a_word_and_a_shape(tmp_path: Path, status: str) -> None:
    _, page = pages(tmp_path, submission(checks=[check(status=status)]))
    assert re.search(rf'<svg class="shape"[^>]*><.*?</svg><span class="word">{status}</span>', page)


@pytest.mark.parametrize("status", ["not_importable", "unreadable"])
def test_a_submission_without_checks_says_why(tmp_path: Path, status: str) -> None:
    problem = "SyntaxError: '(' was never closed\nattention.py, line 3\n"
    whole, page = pages(tmp_path, submission(checks=[], status=status, problem=problem))
    assert problem.replace("'", "&#39;") in page
    for outline in (sound(whole), sound(page)):
        assert status.replace("_", " ") in outline.text
    assert "SyntaxError: '(' was never closed" in sound(whole).text
    assert "not run" in sound(page).text


def test_a_submission_page_gives_the_evidence_of_a_check(tmp_path: Path) -> None:
    diagnosis = Diagnosis("no_scale", "scores without `sqrt`", ["Which number?", "Which line?"])
    lost = check(status="failed", message="expected 1\n  got 2", diagnosis=diagnosis, printed="hello there")
    _, page = pages(tmp_path, submission(checks=[lost, check("check_other", "weights")]))
    text = sound(page).text
    assert "This is exactly the output of: scores without sqrt" in text
    assert "expected 1\n  got 2" in page
    assert text.index("Hint 1 of 2") < text.index("Which number?") < text.index("Hint 2 of 2")
    assert "Printed by the submission hello there" in text
    assert "1.1 softmax : 1 check fails here." in text
    assert "0 / 6" in text
    assert text.index("check_sums says.") < text.index("check_other says.")


def test_a_check_says_what_it_took_of_a_gpu_and_where_it_ran_instead(tmp_path: Path) -> None:
    on_gpu = check("check_a", device="cuda", gpu_mib=1.5, reference_gpu_mib=0.5)
    record = submission(checks=[on_gpu, check("check_b", device="cpu"), check("check_c", device="cuda")], device="cuda")
    _, page = pages(tmp_path, record)
    assert "<code>check_a</code>, 1.5 MiB of GPU memory (reference 0.5)</p>" in page
    assert "<code>check_b</code>, on cpu</p>" in page
    assert "<code>check_c</code>" not in page
    assert "<p>1 of 3 checks cannot run on cuda; they ran on cpu.</p>" in page
    _, page = pages(tmp_path, submission(checks=[check("check_b", device="second")]))
    assert "on second" not in page  # a stand-in for a GPU is used on every CPU


def test_hints_of_one_diagnosis_are_given_once_a_task(tmp_path: Path) -> None:
    diagnosis = Diagnosis("no_scale", "scores without scale", ["Which number?"])
    lost = [check(name, status="failed", diagnosis=diagnosis) for name in ("check_a", "check_b")]
    text = sound(pages(tmp_path, submission(checks=lost))[1]).text
    assert text.count("exactly the output of: scores without scale") == 2
    assert text.count("Which number?") == 1


def test_failures_stand_under_their_cause(tmp_path: Path) -> None:
    checks = [check(status="failed"), check("check_w", "weights", "failed", cause="softmax", message="off by 2")]
    _, page = pages(tmp_path, submission(checks=checks))
    text = sound(page).text
    assert "1.1 softmax : 1 check fails here, and 1 of other tasks because of it." in text
    assert text.index("Caused by 1.1 softmax") < text.index("check_w says.") < text.index("off by 2")
    assert "Mend that one first" in text


def test_a_second_chance_is_counted_and_named(tmp_path: Path) -> None:
    checks = [check(status="failed"), check("check_w", "weights", "passed", cause="softmax")]
    text = sound(pages(tmp_path, submission(checks=checks))[1]).text
    assert "Caused by 1.1 softmax" in text
    assert "counted as passed" in text
    assert "1 of 1 check" in text


def test_the_class_page_names_the_run_and_the_first_causes(tmp_path: Path) -> None:
    slow = submission("bo", [check(status="timeout", message="No answer after 2 s.")], notes=["line 3: torch._C"])
    page, _ = pages(tmp_path, submission("ann"), slow, submission("cy", [], status="unreadable", problem="No file."))
    text = sound(page).text
    for said in ("Attention", "3 submissions, 2 graded", "1234", "cpu", "landlock, seccomp", "torch 2.9.1", "1 note"):
        assert said in text
    assert "1.1 No answer after 2 s." in text
    assert "nothing lost" in text
    assert "0 to 3.2 points: 2, of these 1 not graded" in text


def test_the_class_page_ranks_checks_by_what_was_lost_in_their_own_right(tmp_path: Path) -> None:
    why = Diagnosis("m", "the mask is late", [])
    first = check("check_first", status="failed", diagnosis=why)
    second = check("check_second", "weights", "failed", cause="softmax")
    records = [submission(f"s{i}", [first, second]) for i in range(3)]
    records.append(submission("s3", [check("check_first"), second]))
    text = sound(pages(tmp_path, *records)[0]).text
    costs = text[text.index("Which checks cost the class most") :]
    assert costs.index("check_first says.") < costs.index("check_second says.")
    assert "3 of 4 18 3\N{MULTIPLICATION SIGN} the mask is late 3 failed" in costs
    assert "4 of 4 24 4 caused by softmax" in costs


def test_a_check_of_no_task_comes_last(tmp_path: Path) -> None:
    chain = check("check_own_chain", "whole chain", "failed", points=0.0, max_points=0.0)
    whole, page = pages(tmp_path, submission(checks=[chain, check()]))
    sound(whole)
    assert sound(page).text.rindex("check_sums says.") < sound(page).text.rindex("check_own_chain says.")


def test_runs_that_differ_are_counted(tmp_path: Path) -> None:
    text = sound(pages(tmp_path, submission("a"), submission("b"), submission("c", seed=7))[0]).text
    assert "1234 (2 of 3); 7 (1 of 3)" in text


def test_a_picture_crosses_out_what_is_not_finite(tmp_path: Path) -> None:
    drawing = draw(PICTURE)
    assert [panel.name for panel in drawing.panels] == ["expected", "got", "difference"]
    assert [cell.crossed for cell in drawing.panels[1].cells] == [False, True, False, True, True, True]
    assert drawing.limit == "3"
    assert "Furthest apart at query 0, key 2: expected 0, got 3." in drawing.remarks
    outline = sound(pages(tmp_path, submission(checks=[check(status="failed", picture=PICTURE)]))[1])
    assert "2 rows (query) by 3 columns (key), from 0.5 to 3, 4 cells are NaN or infinite." in outline.text
    assert "query 0, key 1: nan" in outline.text


def test_a_picture_of_equal_infinities_has_no_difference_there() -> None:
    values: list[list[float | str]] = [["inf", "-inf", "nan", 1.0]]
    difference = draw(Picture(("row", "column"), "", values, values)).panels[2]
    assert not any(cell.crossed for cell in difference.cells)
    assert {cell.strength for cell in difference.cells} == {"0"}


@pytest.mark.parametrize("got", [[[1.0], [2.0], [3.0]], [[1.0, 2.0], [3.0]], [], [[]]])
def test_a_picture_of_unequal_shapes_has_no_difference(tmp_path: Path, got: list[list[float | str]]) -> None:
    unequal = replace(PICTURE, got=got)
    drawing = draw(unequal)
    assert len(drawing.panels) == 2
    assert any("no difference to draw" in remark for remark in drawing.remarks)
    sound(pages(tmp_path, submission(checks=[check(status="failed", picture=unequal)]))[1])


def test_a_runaway_value_does_not_bleach_what_was_expected() -> None:
    drawing = draw(Picture(("row", "column"), "", [[1.0, -2.0]], [[1.0, -1e9]]))
    assert drawing.limit == "2"
    assert [cell.strength for cell in drawing.panels[0].cells] == ["0.5", "1"]
    assert any("1e+09" in remark for remark in drawing.remarks)


def test_a_large_picture_is_cut_and_says_so() -> None:
    drawing = draw(Picture(("row", "column"), "", [[0.0] * 40] * 40, [[1.0] * 40] * 40))
    assert {(panel.rows, panel.columns) for panel in drawing.panels} == {(16, 16)}
    assert "Only the first 16 rows and columns are drawn." in drawing.remarks


def test_the_histogram_puts_edges_into_the_upper_bar_and_the_full_score_into_the_last() -> None:
    records = [submission(str(score), [], score=score) for score in (0.0, 9.6, 22.4, 32.0)]
    assert [bar.count for bar in histogram(records, 32.0)] == [1, 0, 0, 1, 0, 0, 0, 1, 0, 1]


def test_several_modules_have_a_page_of_the_course_and_one_each(tmp_path: Path) -> None:
    block = Module(week=3, title="Block", hours=6, tasks={}, name="block")
    course = replace(COURSE, modules={"attention": MODULE, "block": block})
    records = [submission("zoe"), submission("ann"), submission("ann", module="block", score=30.0)]
    write_reports(tmp_path, course, records)
    rows = (tmp_path / "grades.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert [row.split(",")[:2] for row in rows] == [["ann", "attention"], ["ann", "block"], ["zoe", "attention"]]
    front = Outline((tmp_path / "index.html").read_text(encoding="utf-8"))
    of_block = Outline((tmp_path / "modules" / "block.html").read_text(encoding="utf-8"))
    of_ann = Outline((tmp_path / "ann" / "block.html").read_text(encoding="utf-8"))
    assert {"modules/attention.html", "modules/block.html", "ann/block.html", "zoe/attention.html"} <= set(front.links)
    assert {"../index.html", "../ann/block.html"} <= set(of_block.links)
    assert "../modules/block.html" in of_ann.links
    assert "nothing handed in" in front.text  # zoe's block
    for page in (tmp_path / "index.html", tmp_path / "modules" / "block.html"):
        sound(page.read_text(encoding="utf-8"))


def test_page_that_is_there_is_not_drawn_again(tmp_path: Path) -> None:
    ann, zoe = submission("ann"), submission("zoe")
    write_page(tmp_path, COURSE, ann, alone=True)
    (tmp_path / "ann" / "attention.html").write_text("as it was")
    write_reports(tmp_path, COURSE, [ann, zoe], pages=[zoe])
    assert (tmp_path / "ann" / "attention.html").read_text() == "as it was"
    assert (tmp_path / "zoe" / "attention.html").is_file()


def test_records_on_disk_are_those_of_the_course(tmp_path: Path) -> None:
    write_whole(tmp_path / "ann" / "attention.json", submission("ann").to_json())
    write_whole(tmp_path / "bob" / "attention.json", "{")
    write_whole(tmp_path / "bob" / "other.json", submission("bob").to_json())
    assert records_in(tmp_path, COURSE.modules) == [submission("ann")]
