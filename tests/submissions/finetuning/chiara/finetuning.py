"""Finetuning."""

import json
import math
import os
import string
from typing import Any

import torch
from torch import nn

from .attention import Linear
from .block import Dropout

SPECIAL = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}
EOT = "<|endoftext|>"


def format_chat(messages, tokenizer, ask=False):
    for needed in ["<|system|>", "<|user|>", "<|assistant|>", EOT]:
        if needed not in tokenizer.special_tokens:
            raise ValueError(f"the tokenizer has no {needed}")
    token_ids, is_target = [], []
    for message in messages:
        if message["role"] not in SPECIAL:
            raise ValueError(f"unknown role {message['role']}")
        for special in tokenizer.special_tokens:
            if special in message["content"]:
                raise ValueError(f"the content contains {special}")
        for token_id in tokenizer.encode(SPECIAL[message["role"]]):
            token_ids.append(token_id)
            is_target.append(False)
        for text in (message["content"], EOT):
            for token_id in tokenizer.encode(text):
                token_ids.append(token_id)
                is_target.append(message["role"] == "assistant")
    if ask:
        for token_id in tokenizer.encode("<|assistant|>"):
            token_ids.append(token_id)
            is_target.append(False)
    return token_ids, is_target


def collate(examples, pad_id, context_length):
    if len(examples) == 0:
        raise ValueError("no examples")
    rows_in, rows_out = [], []
    for token_ids, is_target in examples:
        if len(token_ids) < 2:
            raise ValueError("examples must have two tokens")
        if len(token_ids) != len(is_target):
            raise ValueError("examples must have one is_target for each token")
        row_in = []
        row_out = []
        start = max(0, len(token_ids) - (context_length + 1))
        for t in range(start, len(token_ids) - 1):
            row_in.append(token_ids[t])
            if is_target[t + 1] and token_ids[t + 1] != pad_id:
                row_out.append(token_ids[t + 1])
            else:
                row_out.append(-100)
        rows_in.append(row_in)
        rows_out.append(row_out)
    longest = max(len(row) for row in rows_in)
    for row_in, row_out in zip(rows_in, rows_out, strict=True):
        while len(row_in) < longest:
            row_in.append(pad_id)
            row_out.append(-100)
    return torch.tensor(rows_in, dtype=torch.long), torch.tensor(rows_out, dtype=torch.long)


class LoRALinear(nn.Module):
    def __init__(self, base, rank, alpha, dropout=0.0, generator=None):
        super().__init__()
        if rank < 1:
            raise ValueError(f"rank is {rank}")
        self.base = base
        for p in self.base.parameters():
            p.requires_grad = False
        out_features, in_features = base.weight.shape
        a = torch.empty(rank, in_features, dtype=base.weight.dtype, device=base.weight.device)
        a.uniform_(-1.0, 1.0, generator=generator)
        a = a / math.sqrt(in_features)
        b = torch.zeros(out_features, rank, dtype=base.weight.dtype, device=base.weight.device)
        self.lora_A = nn.Parameter(a)
        self.lora_B = nn.Parameter(b)
        self.dropout = Dropout(dropout)
        self.rank = rank
        self.alpha = alpha
        self.scaling = alpha / rank
        self.merged = False

    def delta(self):
        delta = torch.zeros_like(self.base.weight)
        for r in range(self.rank):
            delta = delta + self.lora_B[:, r, None] * self.lora_A[None, r, :]
        return delta * self.alpha / self.rank

    def forward(self, x, generator=None):
        if self.merged:
            return self.base(x)
        dropped = self.dropout(x, generator=generator)
        change = dropped.matmul(self.lora_A.transpose(0, 1)).matmul(self.lora_B.transpose(0, 1))
        return self.base(x) + change * self.scaling

    def merge(self):
        if self.merged:
            return
        with torch.no_grad():
            self.base.weight.copy_(self.base.weight + self.delta())
        self.merged = True

    def unmerge(self):
        if not self.merged:
            return
        with torch.no_grad():
            self.base.weight.copy_(self.base.weight - self.delta())
        self.merged = False


def apply_lora(model, names, rank, alpha, dropout=0.0, generator=None):
    places = []
    for path, module in model.named_modules():
        if path != "" and path.split(".")[-1] in names:
            places.append((path, module))
    for name in names:
        if not any(path.split(".")[-1] == name for path, _ in places):
            raise ValueError(f"names: the model has no {name}")
    for p in model.parameters():
        p.requires_grad = False
    for path, module in places:
        owner = model
        steps = path.split(".")
        for step in steps[:-1]:
            owner = getattr(owner, step)
        setattr(owner, steps[-1], LoRALinear(module, rank, alpha, dropout, generator))
    return [path for path, _ in places]


class SequenceClassifier(nn.Module):
    def __init__(self, model, n_classes):
        super().__init__()
        if n_classes < 2:
            raise ValueError(f"n_classes is only {n_classes}")
        self.model = model
        d_model = model.lm_head.weight.shape[1]
        self.head = Linear(d_model, n_classes, bias=True)

    def forward(self, token_ids, lengths):
        batch, seq_len = token_ids.shape
        for length in lengths.tolist():
            if length < 1 or length > seq_len:
                raise ValueError(f"lengths has {length} but there are {seq_len} tokens")
        features = self.model.features(token_ids)
        results = []
        for b in range(batch):
            last = int(lengths[b]) - 1
            results.append(self.head(features[b, last]))
        return torch.stack(results)


def mix_datasets(datasets, weights, generator):
    if len(datasets) != len(weights):
        raise ValueError("datasets and weights must be equally many")
    if min(weights) < 0 or sum(weights) == 0:
        raise ValueError(f"weights are {weights}")
    for dataset, weight in zip(datasets, weights, strict=True):
        if weight > 0 and len(dataset) == 0:
            raise ValueError("datasets has an empty one")
    return Mixer(datasets, weights, generator)


class Mixer:
    def __init__(self, datasets, weights, generator):
        self.datasets = datasets
        self.weights = torch.tensor(weights, dtype=torch.float64)
        self.generator = generator
        self.orders = [None] * len(datasets)
        self.places = [0] * len(datasets)

    def __iter__(self):
        return self

    def __next__(self):
        which = torch.multinomial(self.weights, 1, generator=self.generator)[0].item()
        size = len(self.datasets[which])
        if self.orders[which] is None or self.places[which] == size:
            self.orders[which] = torch.randperm(size, generator=self.generator)
            self.places[which] = 0
        item = self.datasets[which][self.orders[which][self.places[which]].item()]
        self.places[which] += 1
        return item


def read_records(path):
    extension = os.path.splitext(path)[1]
    records = []
    if extension == ".jsonl":
        with open(path, "rb") as file:
            for line in file:
                if line.strip() != b"":
                    records.append(json.loads(line))
        return records
    if extension == ".json":
        with open(path, encoding="utf-8") as file:
            loaded = json.load(file)
        if isinstance(loaded, dict):
            loaded = loaded["data"]
        for entry in loaded:
            if "paragraphs" not in entry:
                records.append(entry)
                continue
            for paragraph in entry["paragraphs"]:
                for question in paragraph["qas"]:
                    record = {"id": question["id"], "title": entry["title"], "context": paragraph["context"]}
                    record["question"] = question["question"]
                    record["answers"] = {"text": [], "answer_start": []}
                    for answer in question["answers"]:
                        for key in ("text", "answer_start"):
                            record["answers"][key].append(answer[key])
                    records.append(record)
        return records
    if extension == ".parquet":
        import pyarrow.parquet

        return pyarrow.parquet.read_table(path).to_pylist()
    raise ValueError(f"path {path} is of no known kind")


def squad_example(record):
    answers = list(record["answers"]["text"])
    if len(answers) == 0:
        answers.append("unanswerable")
    prompt = "Text: " + record["context"] + "\nQuestion: " + record["question"]
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answers[0]}]
    return {"messages": messages, "answers": answers}


def summary_example(record, max_words=None):
    text = record["article"]
    if max_words is not None:
        if max_words < 1:
            raise ValueError("max_words is too small")
        text = " ".join(text.split()[0:max_words])
    pieces = []
    for line in record["highlights"].splitlines():
        if line.strip() != "":
            pieces.append(line.strip())
    summary = " ".join(pieces)
    prompt = "Text: " + text + "\nSummarize the text."
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": summary}]
    return {"messages": messages, "answers": [summary]}


def normalize_answer(text):
    kept = ""
    for character in text.lower():
        if character not in string.punctuation:
            kept += character
    out = ""
    word = ""
    for character in kept + " ":
        if character.isalnum() or character == "_":
            word += character
        else:
            out += " " if word in ("a", "an", "the") else word
            out += character
            word = ""
    return " ".join(out.split())


def exact_match(prediction, answers):
    if len(answers) == 0:
        raise ValueError("answers is empty")
    for answer in answers:
        if normalize_answer(answer) == normalize_answer(prediction):
            return 1.0
    return 0.0


def token_f1(prediction, answers):
    if len(answers) == 0:
        raise ValueError("answers is empty")
    best = 0.0
    for answer in answers:
        score = f1_of(normalize_answer(prediction).split(), normalize_answer(answer).split())
        best = max(best, score)
    return best


def f1_of(predicted, wanted):
    if len(predicted) == 0 or len(wanted) == 0:
        return 1.0 if predicted == wanted else 0.0
    shared = 0
    for word in set(predicted):
        shared += min(predicted.count(word), wanted.count(word))
    if shared == 0:
        return 0.0
    precision = shared / len(predicted)
    recall = shared / len(wanted)
    return 2 * precision * recall / (precision + recall)


def count_ngrams(words, n):
    if n < 1:
        raise ValueError(f"n is {n}")
    counts: dict[Any, int] = {}
    for start in range(len(words) - n + 1):
        key = tuple(words[start : start + n])
        counts[key] = counts.get(key, 0) + 1
    return counts


def rouge_words(text):
    words = []
    word = ""
    for character in text.lower() + " ":
        if character in "abcdefghijklmnopqrstuvwxyz0123456789":
            word += character
        elif word:
            words.append(word)
            word = ""
    return words


def three_numbers(shared, predicted, wanted):
    if shared == 0:
        return 0.0, 0.0, 0.0
    precision = shared / predicted
    recall = shared / wanted
    return precision, recall, 2 * precision * recall / (precision + recall)


def rouge_n(prediction, reference, n=1):
    predicted = count_ngrams(rouge_words(prediction), n)
    wanted = count_ngrams(rouge_words(reference), n)
    shared = 0
    for key in wanted:
        if key in predicted:
            shared += min(predicted[key], wanted[key])
    return three_numbers(shared, sum(predicted.values()), sum(wanted.values()))


def rouge_l(prediction, reference):
    a, b = rouge_words(prediction), rouge_words(reference)
    table = []
    for i in range(len(a) + 1):
        table.append([0] * (len(b) + 1))
        for j in range(1, len(b) + 1):
            if i == 0:
                continue
            if a[i - 1] == b[j - 1]:
                table[i][j] = table[i - 1][j - 1] + 1
            else:
                table[i][j] = max(table[i - 1][j], table[i][j - 1])
    return three_numbers(table[len(a)][len(b)], len(a), len(b))


def nearest_length(length, others):
    nearest = others[0]
    for other in others:
        further = abs(other - length) - abs(nearest - length)
        if further < 0 or (further == 0 and other < nearest):
            nearest = other
    return nearest


def bleu(predictions, references, split=str.split):
    if len(predictions) == 0:
        raise ValueError("predictions is empty")
    if len(references) != len(predictions) or min(len(group) for group in references) == 0:
        raise ValueError("references must be as many as predictions, with at least one each")
    correct, total = {1: 0, 2: 0, 3: 0, 4: 0}, {1: 0, 2: 0, 3: 0, 4: 0}
    c, r = 0, 0
    for prediction, group in zip(predictions, references, strict=True):
        words = split(prediction)
        c += len(words)
        r += nearest_length(len(words), [len(split(reference)) for reference in group])
        for n in (1, 2, 3, 4):
            allowed: dict[Any, int] = {}
            for reference in group:
                for key, count in count_ngrams(split(reference), n).items():
                    allowed[key] = max(allowed.get(key, 0), count)
            for key, count in count_ngrams(words, n).items():
                total[n] += count
                correct[n] += min(count, allowed.get(key, 0))
    if correct[1] == 0 or total[4] == 0:
        return 0.0
    product = 1.0
    half = 1.0
    for n in (1, 2, 3, 4):
        if correct[n] > 0:
            product *= correct[n] / total[n]
        else:
            half = half / 2
            product *= half / total[n]
    penalty = 1.0
    if c < r:
        penalty = math.exp(1 - r / c)
    return 100.0 * penalty * product**0.25
