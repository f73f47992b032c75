"""Writes a question-answer set and a summary set about the course's own handouts.

`python handouts/demos/records.py FOLDER` writes six files. The questions have the format of SQuAD's own files, the
summaries that of CNN/DailyMail, so that what reads these reads those. All that is said comes from the head of a task's
section in a handout ("### 1.1 softmax", "12 points · 45 minutes · calls nothing") and from the notes below it. Every
text is about two tasks. Two kinds of texts are left for testing: about tasks that other texts of the training set tell
of as well (`known`), and about tasks that none does (`new`). Only on the second kind does it show whether a model reads
the text or remembers the facts.

The same handouts give the same files, byte for byte.
"""

import json
import random
import re
import sys
from dataclasses import dataclass
from pathlib import Path

HEAD = re.compile(
    r"^### ([\d.]+) (\w+)\n(\d+) points · (\d+) minutes · calls [^\n]+\n((?:- .*\n(?:  .*\n)*)+)", re.MULTILINE
)
QUESTIONS = {
    "points": "How many points does {name} give?",
    "minutes": "How many minutes does {name} take?",
    "module": "Which module has {name}?",
}
SEED = 6
NEW_SHARE = 6  # one task in six is left out of training
TEXTS = {"train": 240, "known": 24, "new": 24}  # of each of the two sets; a text about questions has two of them


@dataclass(frozen=True)
class Task:
    """What a handout says at the head of a task's section."""

    module: str
    number: str
    name: str
    points: str
    minutes: str
    note: str  # the first sentence of the notes


def tasks_of(handouts: Path) -> list[Task]:
    """The tasks of all handouts of a folder, in the order of their file names and sections."""
    return [
        Task(page.stem, number, name, points, minutes, _first_sentence(notes))
        for page in sorted(handouts.glob("*.md"))
        for number, name, points, minutes, notes in HEAD.findall(page.read_text(encoding="utf-8"))
    ]


def _first_sentence(notes: str) -> str:
    plain = re.sub(r"[`*$]", "", " ".join(notes.removeprefix("- ").split()))
    return re.split(r"(?<=[.?:])\s", plain)[0]


def split_tasks(tasks: list[Task]) -> dict[str, list[Task]]:
    """The tasks that the texts of each kind are about: `train` and `known` share theirs."""
    shuffled = random.Random(SEED).sample(tasks, len(tasks))
    new = max(2, len(tasks) // NEW_SHARE)
    return {"train": shuffled[new:], "known": shuffled[new:], "new": shuffled[:new]}


def context_of(pair: tuple[Task, Task]) -> str:
    """The text that the questions are about."""
    facts = [f"{t.name} is in {t.module}, gives {t.points} points and takes {t.minutes} minutes." for t in pair]
    return " ".join(facts)


def questions(kind: str, pairs: list[tuple[Task, Task]], rng: random.Random) -> dict[str, object]:
    """SQuAD's own format: articles, paragraphs, questions, answers with their places in the text."""
    articles = []
    for i, pair in enumerate(pairs):
        context, asked = context_of(pair), []
        for j, what in enumerate(rng.sample(sorted(QUESTIONS), 2)):
            task = rng.choice(pair)
            sentence = context.index(f"{task.name} is in ")
            text = str(getattr(task, what))
            lead = {"points": "gives ", "minutes": "takes ", "module": " is in "}[what]
            start = context.index(lead + text, sentence) + len(lead)
            answer = {"text": text, "answer_start": start}
            asked.append(
                {"id": f"{kind}-{i}-{j}", "question": QUESTIONS[what].format(name=task.name), "answers": [answer]}
            )
        articles.append(
            {"title": f"{pair[0].name} and {pair[1].name}", "paragraphs": [{"context": context, "qas": asked}]}
        )
    return {"version": "1.1", "data": articles}


def summaries(kind: str, pairs: list[tuple[Task, Task]]) -> list[dict[str, str]]:
    """CNN/DailyMail's format: an article, and highlights, one a line."""
    records = []
    for i, pair in enumerate(pairs):
        told = [f"{t.name} is task {t.number}. {t.note} It gives {t.points} points." for t in pair]
        highlights = "\n".join(f"{t.name}: {t.points} points ." for t in pair)
        records.append({"id": f"{kind}-{i}", "article": " ".join(told), "highlights": highlights})
    return records


def write(folder: Path, handouts: Path) -> dict[str, Path]:
    """Write questions-KIND.json and summaries-KIND.jsonl for the kinds train, known and new; name → path."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, paths, seen = random.Random(SEED), {}, set()
    for kind, tasks in split_tasks(tasks_of(handouts)).items():
        for what in ("questions", "summaries"):
            pairs: list[tuple[Task, Task]] = []
            while len(pairs) < min(TEXTS[kind], len(tasks) * (len(tasks) - 1) // 2):
                first, second = rng.sample(tasks, 2)
                if (what, first.name, second.name) not in seen:  # no text of one kind is one of another
                    seen.add((what, first.name, second.name))
                    pairs.append((first, second))
            path = folder / f"{what}-{kind}.{'json' if what == 'questions' else 'jsonl'}"
            if what == "questions":
                text = json.dumps(questions(kind, pairs, rng), ensure_ascii=False, indent=1)
            else:
                text = "\n".join(json.dumps(record, ensure_ascii=False) for record in summaries(kind, pairs))
            path.write_text(text + "\n", encoding="utf-8")
            paths[f"{what}-{kind}"] = path
    return paths


if __name__ == "__main__":
    for path in write(Path(sys.argv[1]), Path(__file__).parents[1]).values():
        print(path)
