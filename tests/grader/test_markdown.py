"""A handout as HTML: formulas, code, figures, headings and links; and what is said of a page that cannot be set."""

import importlib
import re
import sys

import pytest

from grader.errors import BadRequest
from grader.markdown import render


def body(text: str) -> str:
    return str(render(f"# Title\n\n{text}\n").intro)


# --- parts of a page ---


def test_title_intro_and_sections_are_told_apart() -> None:
    page = render("# The *title*\n\nBefore.\n\n## First part, by far\n\nInside.\n")
    assert page.title == "The *title*"
    assert page.intro == "<p>Before.</p>\n"
    assert page.sections.endswith("<p>Inside.</p>\n")
    assert [(heading.level, heading.anchor) for heading in page.headings] == [(2, "first-part-by-far")]


def test_section_of_a_task_has_the_name_of_the_task_as_its_anchor() -> None:
    page = render("# T\n\n## The tasks\n\n### 1.4 attention_weights\n22 points · 75 minutes · calls 1.1, 1.4\n")
    task = page.headings[1]
    assert (task.level, task.anchor, task.number, task.text) == (3, "attention_weights", "1.4", "attention_weights")
    assert '<h3 id="attention_weights" class="task">' in page.sections
    effort = '<p class="effort">22 points · 75 minutes · calls 1.1, <a href="#attention_weights">1.4</a></p>'
    assert effort in page.sections


def test_numbers_of_tasks_are_links_in_the_table_of_symptoms_only() -> None:
    table = "| see | look |\n|---|---|\n| 1.2 | 1.2: `1.2`, 1.20, 1.3, v1.2.3 |\n"
    page = render(f"# T\n\n{table}\n### 1.2 half\n\nA rate of 1.2.\n\n## What goes wrong, by symptom\n\n{table}")
    before, after = str(page.intro), str(page.sections)
    assert "#half" not in before
    assert "A rate of 1.2." in after
    assert '<td><a href="#half">1.2</a>: <code>1.2</code>, 1.20, 1.3, v1.2.3</td>' in after


def test_link_to_a_source_leads_to_the_page() -> None:
    assert 'href="rules.html#in-short"' in body("[rules](rules.md#in-short)")
    assert 'href="https://example.org/a.md"' in body("[elsewhere](https://example.org/a.md)")


def test_markup_of_the_page_is_shown_and_not_run() -> None:
    assert "&lt;script&gt;" in body("a <script> in the text")


def test_picture_and_italics_below_it_become_a_figure_with_a_caption() -> None:
    html = body("![A *long* text.](figures/a.svg)\n\n*What it $x$ shows.*\n\n*Not* a caption.")
    assert html.count("<figure>") == html.count("<figcaption>") == 1
    assert 'src="figures/a.svg" alt="A long text."' in html
    assert re.search(r"<figcaption>What it .*<math.* shows\.</figcaption></figure>", html)
    assert "<p><em>Not</em> a caption.</p>" in html


def test_picture_without_a_caption_is_a_figure_too() -> None:
    assert body("![Text](a.svg)").count("figcaption") == 0
    assert render("# T\n\n![Text](a.svg)\n").pictures == ["a.svg"]


def test_session_is_coloured_with_prompts_apart() -> None:
    html = body("```python\n>>> import math\n>>> 1 < 2\nTrue\n```")
    assert '<span class="gp">&gt;&gt;&gt; </span><span class="kn">import</span>' in html
    assert '<span class="go">True</span>' in html


# --- formulas ---


def test_formula_becomes_mathml_with_words_in_one_piece() -> None:
    html = body(r"Let $A = \mathrm{softmax}(x)$ be.")
    assert "<mi>softmax</mi>" in html
    assert "$" not in html


def test_signs_that_touch_a_formula_cannot_be_parted_from_it_by_the_end_of_a_line() -> None:
    html = body("So ($x$), a $y$-axis and `(`$z$ .")
    formulas = re.sub(r"<math.*?</math>", "M", html)
    assert formulas == (
        '<p>So <span class="math inline">(M),</span> a <span class="math inline">M</span>-axis'
        ' and <code>(</code><span class="math inline">M</span> .</p>\n'
    )


def test_displayed_formula_is_cut_where_it_may_break() -> None:
    html = body(r"$$a = {b \qquad c}, \qquad d = 1$$")
    assert html.count("<math ") == 2
    assert html.count('display="block"') == 2


def test_prices_are_no_formula() -> None:
    assert "<math" not in body("It costs $5 or $10 a day.")


@pytest.mark.parametrize(
    ("tex", "part"),
    [
        (r"f'(x)", '<mi>f</mi><mo lspace="0" rspace="0">&#x02032;</mo>'),
        (r"\text{d\_model}", "<mtext>d_model</mtext>"),
        (r"-\infty", "<mi>&#x0221E;</mi>"),
        (r"\log p", '<mi>log</mi><mspace width="0.17em"></mspace><mi>p</mi>'),
        (r"\log(p)", '<mi>log</mi><mo stretchy="false">'),
        (r"\mathrm{up}_1", "<mi>up</mi>"),
    ],
)
def test_what_the_converter_leaves_open_is_put_right(tex: str, part: str) -> None:
    assert part in body(f"${tex}$")


# --- errors ---


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Text.\n", "the first line must be the title, '# …'"),
        ("", "the first line must be the title, '# …'"),
        ("# T\n\n## One\n\n## One!\n", "two headings have the anchor 'one'; give one of them another text"),
        ("# T\n\n$\\nothing x$\n", r"the formula $\nothing x$ has a command that cannot be set: \nothing"),
        ("# T\n\n$\\left( x$\n", r"the formula $\left( x$ cannot be set: "),
    ],
)
def test_page_that_cannot_be_set_is_told_with_the_reason(text: str, says: str) -> None:
    with pytest.raises(BadRequest, match=re.escape(says)):
        render(text)


def test_missing_package_is_named_with_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "grader.markdown")
    monkeypatch.setitem(sys.modules, "latex2mathml.converter", None)
    says = r"^Building the handouts needs latex2mathml; run: pip install -e '\.\[docs\]'$"
    with pytest.raises(BadRequest, match=says):
        importlib.import_module("grader.markdown")
