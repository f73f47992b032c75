"""The GitHub Actions workflow of a kit: it grades the public checks on a push and reports the points."""

from .course import Module

HEAD = """\
# Grades the public checks on every push, and reports to GitHub Classroom. Its name is the one that Classroom looks for.
name: Autograding
on:
  push:
  workflow_dispatch:
permissions:
  contents: read
  checks: write
  actions: read
jobs:
  check:
    runs-on: ubuntu-latest
    timeout-minutes: 20
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
          cache: pip
          cache-dependency-path: |
            requirements.txt
            constraints.txt
      - name: Install
        run: python3 install.py
"""
STEP = """\
      - name: {title}
        id: {name}
        continue-on-error: true
        run: .venv/bin/grader ci {name}
"""
TAIL = """\
      - name: Report to GitHub Classroom
        if: always()
        uses: classroom-resources/autograding-grading-reporter@v1
        env:
{results}
        with:
          runners: {runners}
"""


def workflow(modules: list[Module]) -> str:
    """The YAML, one step a module. Every text in it comes from course.toml or from here."""
    steps = "".join(STEP.format(name=module.name, title=_quoted(f"{module.week} {module.title}")) for module in modules)
    results = "\n".join(
        f"          {module.name.upper()}_RESULTS: ${{{{ steps.{module.name}.outputs.result }}}}" for module in modules
    )
    return HEAD + steps + TAIL.format(results=results, runners=",".join(module.name for module in modules))


def _quoted(text: str) -> str:
    """A YAML string; a single quote is doubled in it."""
    return "'{}'".format(text.replace("'", "''"))
