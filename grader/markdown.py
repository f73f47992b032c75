"""A page of Markdown as HTML: formulas become MathML, code is coloured, figures get captions, headings get anchors.

The anchor of a task's section is the name of the task, so that any message can point at it; that of another heading is
its text in small letters with hyphens. The markup of the page itself is escaped: a handout is text, not HTML.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from .errors import BadRequest

try:
    from latex2mathml.converter import convert
    from markdown_it import MarkdownIt
    from markdown_it.token import Token
    from markupsafe import Markup, escape
    from mdit_py_plugins.dollarmath import dollarmath_plugin
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name
except ImportError as error:
    package = str(error.name).partition(".")[0]
    raise BadRequest(f"Building the handouts needs {package}; run: pip install -e '.[docs]'") from None

TASK = re.compile(r"(\d+\.\d+) (\w+)")  # the heading of a task's section: 1.4 attention_weights
EFFORT = re.compile(r"\d+ points ·")  # begins the line below it
NUMBER = re.compile(r"(?<![\d.])\d+\.\d+(?![\d.]*\d)")
SYMPTOMS = "what goes wrong"  # begins the heading above the table of symptoms
UPRIGHT = re.compile(r'(?:<mi mathvariant="normal">[^<]+</mi>){2,}')
PRIMED = re.compile(r"<msup>(<mi>[^<]</mi>)<mi>(&#x02032;)</mi></msup>")
FUNCTION = re.compile(r"(<mi>[a-z]{2,}</mi>)(?=<m(?:i|n|sub|sup|subsup|frac|sqrt|over)\b)")
SIGNED = re.compile(r'([(\[]*)(<span class="math inline">)(.*?)(</span>)([.,;:!?)\]]*)', re.DOTALL)
FOCUSABLE = 'tabindex="0" role="group"'  # by the keyboard, as what can be scrolled has to be


@dataclass(frozen=True)
class Heading:
    """A heading below the title; `number` is that of a task, else empty."""

    level: int
    anchor: str
    number: str
    text: str


@dataclass(frozen=True)
class Document:
    """One page: the title, what stands before the first section, the sections, and the pictures to put beside it."""

    title: str
    intro: Markup
    sections: Markup
    headings: list[Heading]
    pictures: list[str]


def render(text: str) -> Document:
    """The page as HTML.

    Raises:
        BadRequest: the first line is no title, two headings have the same anchor, or a formula cannot be set.
    """
    parser = _parser()
    tokens = parser.parse(text)
    if len(tokens) < 3 or tokens[0].tag != "h1":
        raise BadRequest("the first line must be the title, '# …'")
    title, tokens = tokens[1].content, tokens[3:]
    headings = [_anchored(tokens, i) for i, token in enumerate(tokens) if token.type == "heading_open"]
    anchors = [heading.anchor for heading in headings]
    for anchor in anchors:
        if anchors.count(anchor) > 1:
            raise BadRequest(f"two headings have the anchor '{anchor}'; give one of them another text")
    _link_pages(tokens)
    _link_numbers(tokens, {heading.number: heading.anchor for heading in headings if heading.number})
    pictures = [str(token.attrs["src"]) for token in _inline(tokens) if token.type == "image"]
    tokens = _with_figures(tokens)
    first = next((i for i, token in enumerate(tokens) if token.type == "heading_open"), len(tokens))
    parts = [parser.renderer.render(part, parser.options, {}) for part in (tokens[:first], tokens[first:])]
    intro, sections = (Markup(_placed(part)) for part in parts)
    return Document(title, intro, sections, headings, pictures)


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "highlight": _coloured}).enable("table")
    parser.use(dollarmath_plugin, allow_labels=False, allow_digits=False, renderer=_formulas)
    parser.add_render_rule("image", _image)
    parser.add_render_rule("table_open", lambda *_: f'<div class="scroll" {FOCUSABLE} aria-label="Table">\n<table>\n')
    parser.add_render_rule("table_close", lambda *_: "</table>\n</div>\n")
    return parser


def _coloured(code: str, language: str, _: str) -> str:
    """Code with a class a token; a Python example with prompts is a session."""
    name = "pycon" if code.startswith(">>>") else language or "text"
    return str(highlight(code.rstrip() + "\n", get_lexer_by_name(name), HtmlFormatter(nowrap=True)))


def _image(self: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """A picture that can be scrolled where the page is narrower than its letters allow."""
    return f'<span class="scroll" {FOCUSABLE} aria-label="Figure">{self.image(tokens, index, options, env)}</span>'


# --- formulas ---


def _formulas(tex: str, options: dict[str, Any]) -> str:
    """A formula; a displayed one is cut at \\qquad, so that its parts can stand below each other on a narrow page."""
    if not options["display_mode"]:
        return _mathml(tex, "inline")
    return "\n".join(_mathml(part, "block") for part in _parts(tex))


def _placed(html: str) -> str:
    """A displayed formula can be scrolled; signs that touch another are one piece with it, or could begin a line."""
    html = html.replace('class="math block"', f'class="math block" {FOCUSABLE} aria-label="Formula"')
    return SIGNED.sub(r"\2\1\3\5\4", html)


def _parts(tex: str) -> list[str]:
    """The formula cut at each \\qquad that stands outside all braces and environments."""
    parts, depth = [""], 0
    for piece in re.split(r"(\\qquad|\\begin|\\end|\\[{}]|[{}])", tex):
        depth += {"{": 1, "\\begin": 1, "}": -1, "\\end": -1}.get(piece, 0)
        if piece == "\\qquad" and not depth:
            parts.append("")
        else:
            parts[-1] += piece
    return [part.strip() for part in parts if part.strip()]


def _mathml(tex: str, display: str) -> str:
    """MathML for one formula, and what the converter leaves open put right."""
    try:
        formula = convert(tex, display=display)
    except Exception as error:  # the converter has a dozen kinds of its own, and raises IndexError as well
        raise BadRequest(f"the formula ${tex}$ cannot be set: {type(error).__name__} {error}".rstrip()) from error
    formula = re.sub(r"\\(?=[_%#])", "", formula)  # in \text{d\_model} the sign keeps its stroke
    if "\\" in formula:
        raise BadRequest(
            f"the formula ${tex}$ has a command that cannot be set: {formula[formula.index(chr(92)) :][:20]}"
        )
    formula = PRIMED.sub(r'<mrow>\1<mo lspace="0" rspace="0">\2</mo></mrow>', formula)  # the sign is raised already
    formula = formula.replace("<mo>&#x0221E;</mo>", "<mi>&#x0221E;</mi>")
    formula = UPRIGHT.sub(lambda word: f"<mi>{re.sub('<[^>]*>', '', word[0])}</mi>", formula)  # one word, not letters
    return FUNCTION.sub(r'\1<mspace width="0.17em"></mspace>', formula)  # log x


# --- headings and links ---


def _anchored(tokens: list[Token], index: int) -> Heading:
    """The heading at `index`, which gets its anchor, and a sign to copy it from."""
    opening, inline = tokens[index], tokens[index + 1]
    task = TASK.fullmatch(inline.content)
    number, text = task.groups() if task else ("", inline.content)
    anchor = text if task else re.sub(r"\W+", "-", text.lower()).strip("-")
    opening.attrSet("id", anchor)
    children = inline.children or []
    if task:
        children = [_html(f'<span class="no">{number}</span> <code>{text}</code>')]
        opening.attrSet("class", "task")
    inline.children = [*children, _html(f' <a class="anchor" href="#{anchor}" aria-hidden="true" tabindex="-1">#</a>')]
    return Heading(int(opening.tag[1]), anchor, number, text)


def _link_pages(tokens: list[Token]) -> None:
    """A link to another page's source leads to the page."""
    for token in _inline(tokens):
        if token.type == "link_open":
            target = str(token.attrs["href"])
            if ":" not in target:
                token.attrSet("href", re.sub(r"\.md(?=#|$)", ".html", target))


def _link_numbers(tokens: list[Token], anchors: dict[str, str]) -> None:
    """The numbers of tasks lead to their sections, below the heading of a task and in the table of symptoms."""
    below_symptoms = False
    for opening, token in pairwise(tokens):
        if opening.type == "heading_open" and opening.tag == "h2":
            below_symptoms = token.content.lower().startswith(SYMPTOMS)
        effort = opening.type == "paragraph_open" and EFFORT.match(token.content) is not None
        if effort:
            opening.attrSet("class", "effort")
        if effort or (below_symptoms and opening.type == "td_open"):
            for child in token.children or []:
                if child.type == "text":
                    child.type, child.content = "html_inline", NUMBER.sub(_link(anchors), str(escape(child.content)))


def _link(anchors: dict[str, str]) -> Any:
    return lambda found: f'<a href="#{anchors[found[0]]}">{found[0]}</a>' if found[0] in anchors else found[0]


# --- figures ---


def _with_figures(tokens: list[Token]) -> list[Token]:
    """A paragraph that is one picture becomes a figure; one in italics right behind it, its caption."""
    made: list[Token] = []
    rest = list(tokens)
    while rest:
        if not _is_picture(rest[:3]):
            made.append(rest.pop(0))
            continue
        picture, rest = rest[1], rest[3:]
        made += [Token("figure_open", "figure", 1, block=True), picture]
        if _is_italic(rest[:3]):
            caption, rest = rest[1], rest[3:]
            caption.children = (caption.children or [])[1:-1]
            made += [Token("figcaption_open", "figcaption", 1), caption, Token("figcaption_close", "figcaption", -1)]
        made.append(Token("figure_close", "figure", -1, block=True))
    return made


def _is_picture(tokens: list[Token]) -> bool:
    children = tokens[1].children if len(tokens) == 3 and tokens[0].type == "paragraph_open" else None
    return bool(children) and [child.type for child in children or []] == ["image"]


def _is_italic(tokens: list[Token]) -> bool:
    children = tokens[1].children if len(tokens) == 3 and tokens[0].type == "paragraph_open" else None
    kinds = [child.type for child in children or []]
    return bool(kinds) and kinds[0] == "em_open" and kinds.index("em_close") == len(kinds) - 1


def _inline(tokens: list[Token]) -> list[Token]:
    return [child for token in tokens for child in token.children or []]


def _html(text: str) -> Token:
    return Token("html_inline", "", 0, content=text)
