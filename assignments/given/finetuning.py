"""Module 6, finetuning, in plain slow code: it stands in for your file where a later week needs one."""

import json
import math
import re
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from .attention import Linear
from .block import Dropout

ROLES = "system", "user", "assistant"
MARKS = [f"<|{role}|>" for role in ROLES]
END = "<|endoftext|>"
Example = tuple[Sequence[int], Sequence[bool]]


def format_chat(
    messages: Sequence[Mapping[str, str]], tokenizer: Any, ask: bool = False
) -> tuple[list[int], list[bool]]:
    """The token ids of a chat, and which of them the model is to learn to write."""
    specials = tokenizer.special_tokens
    if not {*MARKS, END} <= set(specials):
        raise ValueError(f"tokenizer has special tokens {specials}, needs {MARKS} and {END}")
    parts = []  # (text, is_target)
    for message in messages:
        if message["role"] not in ROLES:
            raise ValueError(f"role is {message['role']!r}, not one of {ROLES}")
        if any(special in message["content"] for special in specials):
            raise ValueError(f"content holds a special token: {message['content']!r}")
        learnt = message["role"] == "assistant"
        parts += [(f"<|{message['role']}|>", False), (message["content"], learnt), (END, learnt)]
    parts += [(MARKS[2], False)] * ask
    pairs = [(token_id, learnt) for text, learnt in parts for token_id in tokenizer.encode(text)]
    return [token_id for token_id, _ in pairs], [learnt for _, learnt in pairs]


def collate(
    examples: Sequence[Example], pad_id: int, context_length: int
) -> tuple[Int[Tensor, "batch seq_len"], Int[Tensor, "batch seq_len"]]:
    """A batch for training: what the model reads, and the tokens that follow where they are targets."""
    if len(examples) == 0:
        raise ValueError("examples is empty")
    inputs, targets = [], []
    for ids, flags in examples:
        if len(ids) != len(flags) or len(ids) < 2:
            raise ValueError(f"examples holds one with {len(ids)} ids and {len(flags)} flags of is_target")
        pairs = list(zip(ids, flags, strict=True))[-context_length - 1 :]
        inputs.append(torch.tensor([token_id for token_id, _ in pairs[:-1]]))
        targets.append(torch.tensor([token_id if learnt else -100 for token_id, learnt in pairs[1:]]))
    return pad_sequence(inputs, True, pad_id), pad_sequence(targets, True, -100)


class LoRALinear(nn.Module):
    """base(x) + scaling · dropout(x) lora_Aᵀ lora_Bᵀ, with scaling = alpha / rank and a frozen base."""

    def __init__(
        self,
        base: nn.Module,
        rank: int,
        alpha: float,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        """Freeze base and register lora_A and lora_B."""
        super().__init__()
        if rank < 1:
            raise ValueError(f"rank is {rank}, must be at least 1")
        for parameter in base.parameters():
            parameter.requires_grad = False
        d_out, d_in = base.weight.shape
        like = {"dtype": base.weight.dtype, "device": base.weight.device}
        self.base = base
        self.lora_A = nn.Parameter(torch.empty(rank, d_in, **like))
        self.lora_B = nn.Parameter(torch.zeros(d_out, rank, **like))
        nn.init.uniform_(self.lora_A, -(d_in**-0.5), d_in**-0.5, generator=generator)
        self.dropout = Dropout(dropout)
        self.scaling = alpha / rank
        self.merged = False

    def forward(
        self, x: Float[Tensor, "... d_in"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "... d_out"]:
        """base(x) and the change, or base(x) alone once it is merged."""
        if self.merged:
            return self.base(x)
        low = F.linear(self.dropout(x, generator), self.lora_A)
        return self.base(x) + F.linear(low, self.lora_B) * self.scaling

    @torch.no_grad()
    def merge(self) -> None:
        """Add scaling · lora_B lora_A to base.weight, in place."""
        if not self.merged:
            self.base.weight.addmm_(self.lora_B, self.lora_A, alpha=self.scaling)
            self.merged = True

    @torch.no_grad()
    def unmerge(self) -> None:
        """Take it out of base.weight again, in place."""
        if self.merged:
            self.base.weight.addmm_(self.lora_B, self.lora_A, alpha=-self.scaling)
            self.merged = False


def apply_lora(
    model: nn.Module,
    names: Sequence[str],
    rank: int,
    alpha: float,
    dropout: float = 0.0,
    generator: torch.Generator | None = None,
) -> list[str]:
    """Freeze the model and put a LoRALinear around each of its modules called by one of `names`."""
    paths = [path for path, _ in model.named_modules() if path.split(".")[-1] in names]
    if set(names) - {path.split(".")[-1] for path in paths}:
        raise ValueError(f"names is {list(names)}; the model has no module for each of them")
    for parameter in model.parameters():
        parameter.requires_grad = False
    for path in paths:
        wrapped = LoRALinear(model.get_submodule(path), rank, alpha, dropout, generator)
        model.set_submodule(path, wrapped)
    return paths


class SequenceClassifier(nn.Module):
    """Scores of n_classes for a whole text: a linear layer on the model's features of its last real token."""

    def __init__(self, model: nn.Module, n_classes: int) -> None:
        """Register model and head."""
        super().__init__()
        if n_classes < 2:
            raise ValueError(f"n_classes is {n_classes}, must be at least 2")
        self.model = model
        self.head = Linear(model.lm_head.weight.shape[-1], n_classes)

    def forward(
        self, token_ids: Int[Tensor, "batch seq_len"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch n_classes"]:
        """The scores, before any softmax."""
        low, high = lengths.aminmax()
        if low < 1 or high > token_ids.shape[1]:
            raise ValueError(f"lengths are from {low} to {high}, in a batch of seq_len {token_ids.shape[1]}")
        features = self.model.features(token_ids)
        last = torch.stack([row[length - 1] for row, length in zip(features, lengths, strict=True)])
        return self.head(last)


def mix_datasets(
    datasets: Sequence[Sequence[Any]], weights: Sequence[float], generator: torch.Generator
) -> Iterator[Any]:
    """Items of several datasets for ever, each from dataset i with probability weights[i] / sum(weights)."""
    if len(datasets) != len(weights):
        raise ValueError(f"datasets are {len(datasets)}, but weights are {len(weights)}")
    if min(weights, default=0) < 0 or sum(weights) <= 0:
        raise ValueError(f"weights are {list(weights)}")
    if any(weights[i] > 0 and len(datasets[i]) == 0 for i in range(len(datasets))):
        raise ValueError(f"datasets are of lengths {[len(dataset) for dataset in datasets]}")

    def shuffled(dataset: Sequence[Any]) -> Iterator[Any]:
        while True:
            for i in torch.randperm(len(dataset), generator=generator):
                yield dataset[i]

    def mixed() -> Iterator[Any]:
        streams = [shuffled(dataset) for dataset in datasets]
        probabilities = torch.tensor(weights, dtype=torch.float64)
        while True:
            yield next(streams[probabilities.multinomial(1, generator=generator).item()])

    return mixed()


def read_records(path: str | Path) -> list[dict[str, Any]]:
    """The records of a .json, .jsonl or .parquet file; SQuAD's nested ones become flat."""
    kind = Path(path).suffix
    if kind == ".parquet":
        import pyarrow.parquet

        return pyarrow.parquet.read_table(path).to_pylist()
    if kind not in (".json", ".jsonl"):
        raise ValueError(f"path {str(path)!r} ends in neither .json nor .jsonl nor .parquet")
    text = Path(path).read_bytes().decode("utf-8")
    if kind == ".jsonl":
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    data = json.loads(text)
    records = []
    for entry in data if isinstance(data, list) else data["data"]:
        if "paragraphs" not in entry:
            records.append(entry)
            continue
        for paragraph in entry["paragraphs"]:
            for qa in paragraph["qas"]:
                answers = {"text": [], "answer_start": []}
                for answer in qa["answers"]:
                    answers["text"].append(answer["text"])
                    answers["answer_start"].append(answer["answer_start"])
                record = {"id": qa["id"], "title": entry["title"], "context": paragraph["context"]}
                records.append({**record, "question": qa["question"], "answers": answers})
    return records


def squad_example(record: Mapping[str, Any]) -> dict[str, Any]:
    """A flat SQuAD record as a chat and the answers that count as right."""
    answers = [*record["answers"]["text"]]
    if not answers:
        answers = ["unanswerable"]
    user = {"role": "user", "content": "Text: {context}\nQuestion: {question}".format(**record)}
    return {"messages": [user, {"role": "assistant", "content": answers[0]}], "answers": answers}


def summary_example(record: Mapping[str, Any], max_words: int | None = None) -> dict[str, Any]:
    """A CNN/DailyMail record as a chat and the summary that counts as right."""
    article = record["article"]
    if max_words is not None:
        if max_words < 1:
            raise ValueError(f"max_words is {max_words}")
        article = " ".join(article.split()[:max_words])
    lines = [line.strip() for line in record["highlights"].splitlines()]
    summary = " ".join(filter(None, lines))
    user = {"role": "user", "content": f"Text: {article}\nSummarize the text."}
    return {"messages": [user, {"role": "assistant", "content": summary}], "answers": [summary]}


def normalize_answer(text: str) -> str:
    """What counts of an answer: no capitals, punctuation, articles and extra spaces."""
    text = text.lower().translate(str.maketrans("", "", string.punctuation))
    return re.sub(r"\s+", " ", re.sub(r"\b(?:an?|the)\b", " ", text)).strip()


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1.0 if the prediction is one of the answers after normalize_answer, else 0.0."""
    if not answers:
        raise ValueError("answers is empty")
    return 1.0 if any(normalize_answer(prediction) == normalize_answer(answer) for answer in answers) else 0.0


def token_f1(prediction: str, answers: Sequence[str]) -> float:
    """The largest F1 over the answers, of the words that both share after normalize_answer."""
    if not answers:
        raise ValueError("answers is empty")
    best = 0.0
    for answer in answers:
        said, wanted = normalize_answer(prediction).split(), normalize_answer(answer).split()
        left = wanted.copy()
        for word in said:
            if word in left:
                left.remove(word)
        shared = len(wanted) - len(left)
        best = max(best, 2 * shared / (len(said) + len(wanted)) if said and wanted else float(said == wanted))
    return best


def count_ngrams(words: Sequence[str], n: int) -> dict[tuple[str, ...], int]:
    """How often each run of n neighbouring words occurs."""
    if n < 1:
        raise ValueError(f"n is {n}, must be at least 1")
    counts: dict[tuple[str, ...], int] = {}
    for run in zip(*(words[i:] for i in range(n)), strict=False):
        counts[run] = counts.get(run, 0) + 1
    return counts


def _split_for_rouge(text: str) -> list[str]:
    return re.sub("[^a-z0-9]", " ", text.lower()).split()


def _three(shared: int, said: int, wanted: int) -> tuple[float, float, float]:
    if shared == 0:
        return 0.0, 0.0, 0.0
    return shared / said, shared / wanted, 2 * shared / (said + wanted)


def rouge_n(prediction: str, reference: str, n: int = 1) -> tuple[float, float, float]:
    """Precision, recall and F1 of the runs of n words."""
    said = count_ngrams(_split_for_rouge(prediction), n)
    wanted = count_ngrams(_split_for_rouge(reference), n)
    shared = sum(min(said[run], wanted[run]) for run in said.keys() & wanted.keys())
    return _three(shared, sum(said.values()), sum(wanted.values()))


def rouge_l(prediction: str, reference: str) -> tuple[float, float, float]:
    """Precision, recall and F1 of the longest common subsequence."""
    said, wanted = _split_for_rouge(prediction), _split_for_rouge(reference)
    table = [[0] * (len(wanted) + 1) for _ in range(len(said) + 1)]
    for i in range(len(said)):
        for j in range(len(wanted)):
            if said[i] == wanted[j]:
                table[i + 1][j + 1] = table[i][j] + 1
            else:
                table[i + 1][j + 1] = max(table[i][j + 1], table[i + 1][j])
    return _three(table[-1][-1], len(said), len(wanted))


def bleu(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    split: Callable[[str], list[str]] = str.split,
) -> float:
    """Corpus BLEU, from 0 to 100, with up to four words in a run."""
    if not predictions or len(predictions) != len(references) or [] in [list(texts) for texts in references]:
        raise ValueError(f"predictions are {len(predictions)}, references are {[len(texts) for texts in references]}")
    lengths = []  # of each prediction and of the reference nearest to it
    for prediction, texts in zip(predictions, references, strict=True):
        length = len(split(prediction))
        near = sorted((len(split(text)) for text in texts), key=lambda other: (abs(other - length), other))
        lengths.append((length, near[0]))
    precisions, halvings = [], 0
    for n in range(1, 5):
        matches = total = 0
        for prediction, texts in zip(predictions, references, strict=True):
            for run, count in count_ngrams(split(prediction), n).items():
                total += count
                matches += min(count, max(count_ngrams(split(text), n).get(run, 0) for text in texts))
        if total == 0 or (n == 1 and matches == 0):
            return 0.0
        halvings += matches == 0
        precisions.append(matches / total if matches else 0.5**halvings / total)
    said, wanted = (sum(column) for column in zip(*lengths, strict=True))
    penalty = 1.0 if said >= wanted else math.exp(1 - wanted / said)
    return 100 * penalty * math.prod(precisions) ** 0.25
