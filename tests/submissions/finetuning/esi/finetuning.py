"""Week 6"""

import json
import re
import string
from collections import Counter
from itertools import chain, islice
from math import exp, fsum, inf, log
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from .attention import Linear
from .block import Dropout

ROLES = ("system", "user", "assistant")
STOP = "<|endoftext|>"


def _require(condition, message):
    if not condition:
        raise ValueError(message)


def _mark(role):
    return f"<|{role}|>"


def format_chat(messages, tokenizer, ask=False):
    special = tokenizer.special_tokens
    lacking = {*map(_mark, ROLES), STOP}.difference(special)
    _require(not lacking, f"tokenizer lacks {lacking}")
    _require(all(m["role"] in ROLES for m in messages), f"a role is not in {ROLES}")
    _require(not any(s in m["content"] for s in special for m in messages), "content must not hold special tokens")
    spans = [
        (_mark(m["role"]), m["content"] + STOP, m["role"] == "assistant")  # a special token is never glued to text
        for m in messages
    ]
    encoded = [(tokenizer.encode(mark), tokenizer.encode(body), learn) for mark, body, learn in spans]
    if ask:
        encoded.append((tokenizer.encode(_mark("assistant")), [], False))
    ids = [i for mark, body, _ in encoded for i in (*mark, *body)]
    flags = [f for mark, body, learn in encoded for f in (*[False] * len(mark), *[learn] * len(body))]
    return ids, flags


def collate(examples, pad_id, context_length):
    _require(examples, "examples is empty")
    _require(all(1 < len(i) == len(f) for i, f in examples), "examples: one is too short or has other flags than ids")
    kept = [(list(i)[-(context_length + 1) :], list(f)[-(context_length + 1) :]) for i, f in examples]
    width = max(len(i) - 1 for i, _ in kept)
    inputs = [i[:-1] + [pad_id] * (width + 1 - len(i)) for i, _ in kept]
    targets = [
        [token if learn else -100 for token, learn in zip(i[1:], f[1:], strict=True)] + [-100] * (width + 1 - len(i))
        for i, f in kept
    ]
    return torch.tensor(inputs), torch.tensor(targets)


class LoRALinear(nn.Module):
    def __init__(self, base, rank, alpha, dropout=0.0, generator=None):
        _require(rank >= 1, f"rank = {rank}")
        super().__init__()
        self.base = base.requires_grad_(False)
        (n, m), like = base.weight.shape, {"dtype": base.weight.dtype, "device": base.weight.device}
        noise = torch.rand(rank, m, generator=generator, **like)
        self.lora_A = nn.Parameter((2 * noise - 1) * m**-0.5)
        self.lora_B = nn.Parameter(torch.zeros(n, rank, **like))
        self.dropout, self.scaling, self.merged = Dropout(dropout), alpha / rank, False

    def forward(self, x, generator=None):
        if self.merged:
            return self.base(x)
        return torch.add(self.base(x), F.linear(self.dropout(x, generator), self._product()))

    def _product(self):
        return torch.einsum("or,ri->oi", self.lora_B, self.lora_A) * self.scaling

    def _move(self, sign):
        with torch.no_grad():
            self.base.weight += sign * self._product()

    def merge(self):
        self._move(0 if self.merged else 1)
        self.merged = True

    def unmerge(self):
        self._move(-1 if self.merged else 0)
        self.merged = False


def apply_lora(model, names, rank, alpha, dropout=0.0, generator=None):
    last = {path: path.split(".")[-1] for path, _ in model.named_modules()}
    chosen = [path for path, name in last.items() if name in set(names)]
    unknown = set(names) - set(last.values())
    _require(not unknown, f"names that no module has: {unknown}")
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for path in chosen:
        model.set_submodule(path, LoRALinear(model.get_submodule(path), rank, alpha, dropout, generator))
    return chosen


class SequenceClassifier(nn.Module):
    def __init__(self, model, n_classes):
        _require(n_classes >= 2, f"n_classes = {n_classes}")
        super().__init__()
        self.model, self.head = model, Linear(model.lm_head.weight.size(1), n_classes)

    def forward(self, token_ids, lengths):
        ok = lengths.ge(1) & lengths.le(token_ids.size(1))
        _require(ok.all(), f"lengths = {lengths.tolist()} for rows of {token_ids.size(1)}")
        features = self.model.features(token_ids)
        index = (lengths - 1)[:, None, None].expand(-1, 1, features.size(-1))
        return self.head(features.gather(1, index)[:, 0])


def mix_datasets(datasets, weights, generator):
    _require(len(datasets) == len(weights), f"{len(weights)} weights for {len(datasets)} datasets")
    _require(all(w >= 0 for w in weights) and sum(weights) > 0, f"weights = {weights}")
    _require(all(len(d) or not w for d, w in zip(datasets, weights, strict=True)), "one of datasets is empty")

    def endless(dataset):
        while True:
            yield from (dataset[i] for i in torch.randperm(len(dataset), generator=generator).tolist())

    streams = list(map(endless, datasets))
    p = torch.tensor(weights, dtype=torch.double)
    return (next(streams[torch.multinomial(p, 1, generator=generator)]) for _ in iter(int, 1))


def _questions(article):
    for paragraph in article["paragraphs"]:
        for qa in paragraph["qas"]:
            pairs = [(a["text"], a["answer_start"]) for a in qa["answers"]]
            text, start = map(list, zip(*pairs, strict=True)) if pairs else ([], [])
            rest = {"context": paragraph["context"], "question": qa["question"]}
            yield {"id": qa["id"], "title": article["title"], **rest, "answers": {"text": text, "answer_start": start}}


def read_records(path):
    path = Path(path)
    match path.suffix:
        case ".parquet":
            from pyarrow import parquet

            return parquet.read_table(path).to_pylist()
        case ".jsonl":
            lines = re.split(r"\r?\n", path.read_bytes().decode())
            return [json.loads(line) for line in lines if line]
        case ".json":
            data = json.loads(path.read_bytes())
            data = data if isinstance(data, list) else data["data"]
            return list(chain.from_iterable(_questions(e) if "paragraphs" in e else (e,) for e in data))
    raise ValueError(f"path: {path.name} is neither .json, .jsonl nor .parquet")


def _exchange(question, *answers):
    turns = zip(("user", "assistant"), (question, answers[0]), strict=True)
    return {"messages": [{"role": r, "content": c} for r, c in turns], "answers": [*answers]}


def squad_example(record):
    found = record["answers"]["text"] or ["unanswerable"]
    return _exchange(f"Text: {record['context']}\nQuestion: {record['question']}", *found)


def summary_example(record, max_words=None):
    _require(max_words is None or max_words >= 1, f"max_words = {max_words}")
    article = record["article"]
    if max_words:
        article = " ".join(islice(re.findall(r"\S+", article), max_words))
    lines = map(str.strip, re.split(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]", record["highlights"]))
    return _exchange(f"Text: {article}\nSummarize the text.", " ".join(filter(len, lines)))


_NO_SIGNS = dict.fromkeys(map(ord, string.punctuation))


def normalize_answer(text):
    words = re.split(r"\b(?:a|an|the)\b|\s+", text.lower().translate(_NO_SIGNS))
    return " ".join(filter(None, words))


def exact_match(prediction, answers):
    _require(answers, "answers is empty")
    return float(normalize_answer(prediction) in set(map(normalize_answer, answers)))


def token_f1(prediction, answers):
    _require(answers, "answers is empty")
    p = Counter(normalize_answer(prediction).split())
    rs = [Counter(normalize_answer(a).split()) for a in answers]
    return max(1.0 if p == r else 2 * len(p.keys() & r.keys()) / (len(p) + len(r)) for r in rs)


def count_ngrams(words, n):
    _require(n > 0, f"n = {n}")
    return dict(Counter(zip(*(words[i:] for i in range(n)), strict=False)))


def _prf(hits, said, wanted):
    return (hits / said, hits / wanted, 2 * hits / (said + wanted)) if hits else (0.0, 0.0, 0.0)


def _rouge_words(text):
    return [w for w in re.split(r"[^a-z0-9]+", text.lower()) if w]


def rouge_n(prediction, reference, n=1):
    p, r = (Counter(count_ngrams(_rouge_words(t), n)) for t in (prediction, reference))
    return _prf((p & r).total(), p.total(), r.total())


def rouge_l(prediction, reference):
    a, b = _rouge_words(prediction), _rouge_words(reference)
    tails = []  # Hunt and Szymanski: tails[k] is the earliest end in b of a common subsequence of k + 1 words
    for word in a:
        for j in [j for j in reversed(range(len(b))) if b[j] == word]:
            k = next((k for k, end in enumerate(tails) if end >= j), len(tails))
            tails[k : k + 1] = [j]
    return _prf(len(tails), len(a), len(b))


def bleu(predictions, references, split=str.split):
    _require(predictions, "predictions is empty")
    _require(len(predictions) == len(references) and all(map(len, references)), "references do not fit predictions")
    said = [split(p) for p in predictions]
    wanted = [[split(r) for r in group] for group in references]
    c = sum(map(len, said))
    r = sum(min(map(len, group), key=lambda n: (abs(n - len(s)), n)) for s, group in zip(said, wanted, strict=True))
    hits, runs = [], []
    for n in range(1, 5):
        grams = [Counter(count_ngrams(s, n)) for s in said]
        limits = [Counter() for _ in said]
        for i, group in enumerate(wanted):
            for words in group:
                limits[i] |= Counter(count_ngrams(words, n))
        hits.append(sum((g & limit).total() for g, limit in zip(grams, limits, strict=True)))
        runs.append(sum(g.total() for g in grams))
    if not hits[0] or not runs[-1]:
        return 0.0
    missed = [hits[: n + 1].count(0) for n in range(4)]
    logs = [log(h / t) if h else -log(t) - k * log(2) for h, t, k in zip(hits, runs, missed, strict=True)]
    return 100 * min(1, exp(1 - r / c) if c else inf) * exp(fsum(logs) / 4)
