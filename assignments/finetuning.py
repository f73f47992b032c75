"""Module 6, finetuning: how a model of text becomes one that answers, and how to tell whether it does.

A chat is a list of messages, each a dict with `role` ("system", "user" or "assistant") and `content`. A model has
`features(token_ids) -> (batch, seq_len, d_model)` and an `lm_head`, as the GPT of module 3. Linear and Dropout come
from modules 1 and 2. Libraries that do all this (peft, transformers, rouge_score, sacrebleu and the like) are not
allowed here. Nothing random happens but through a torch.Generator, and no function changes its arguments, but for
the model that apply_lora is given.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .attention import Linear
from .block import Dropout

Example = tuple[Sequence[int], Sequence[bool]]  # the token ids of a chat, and which of them are to be learnt


def format_chat(
    messages: Sequence[Mapping[str, str]], tokenizer: Any, ask: bool = False
) -> tuple[list[int], list[bool]]:
    """The token ids of a chat, and which of them the model is to learn to write: the answers and their ends.

    A message becomes <|system|>, <|user|> or <|assistant|>, then the ids of its content, then <|endoftext|>. Targets
    are the content of the assistant's messages and the <|endoftext|> after it, which teaches the model to stop; never
    an <|assistant|>, which the caller writes.

    Args:
        messages: dicts with role and content, in any order of roles; also none. A content may be empty.
        tokenizer: has `encode(text) -> list[int]` and `special_tokens`, a list of texts, with the four above in it.
        ask: end with one more <|assistant|>, no target, so that the model goes on with an answer.
    Returns:
        token_ids and is_target, of equal length.
    Raises:
        ValueError: a role is none of the three, the tokenizer lacks one of the four special tokens, or a content holds
            a special token: whoever wrote it could end their own turn and speak for another.
    Source: Ouyang et al. 2022, section 3.5; the layout is ours. Task 6.1.
    """
    raise NotImplementedError("Task 6.1: format_chat")


def collate(
    examples: Sequence[Example], pad_id: int, context_length: int
) -> tuple[Int[Tensor, "batch seq_len"], Int[Tensor, "batch seq_len"]]:
    """A batch for training: what the model reads, and at each position the token that follows, if it is a target.

    targets[b, t] is token t + 1 of the example where is_target[t + 1], else -100. An example of n tokens fills n - 1
    positions; behind them stand pad_id and -100. pad_id is often the id of <|endoftext|> as well: the first one, which
    ends the answer, is a target all the same, so padding is known by its place and not by its id. With pad_id 0,
    ([7, 8, 9], [F, F, T]) and ([5, 0], [F, T]) give [[7, 8], [5, 0]] and [[-100, 9], [0, -100]].

    Args:
        examples: (token_ids, is_target) each, as format_chat returns them.
        pad_id: fills the rows up.
        context_length: seq_len is at most this. Of a longer example the last context_length + 1 tokens are kept: the
            answer stands at the end.
    Returns:
        token_ids and targets, (batch, seq_len), int64, seq_len that of the longest example.
    Raises:
        ValueError: examples is empty, one has fewer than two tokens, or its is_target has another length.
    Source: Ouyang et al. 2022, appendix C.1. Task 6.2.
    """
    raise NotImplementedError("Task 6.2: collate")


class LoRALinear(nn.Module):
    """base(x) + scaling · dropout(x) lora_Aᵀ lora_Bᵀ, with scaling = alpha / rank and a frozen base.

    Modules and parameters:
        base: the layer that is adapted, the same object; its parameters no longer require gradients.
        lora_A: (rank, d_in), uniform in ±1/sqrt(d_in).   lora_B: (d_out, rank), zero, so that nothing changes at first.
        dropout: the Dropout of module 2.
    Attributes:
        scaling: alpha / rank.   merged: whether the product is part of base.weight now.
    Source: Hu et al. 2022, section 4.1. Task 6.3.
    """

    def __init__(
        self,
        base: nn.Module,
        rank: int,
        alpha: float,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        """Freeze base and register lora_A and lora_B, in the dtype and on the device of base.weight.

        Args:
            base: a linear layer with weight (d_out, d_in), and bias (d_out,) or None.
            rank: of the change that can be learnt, at least 1.
            alpha: its strength; with scaling = alpha / rank the learning rate can stay when rank changes.
            dropout: probability of Dropout, on the way into lora_A only.
            generator: what lora_A is drawn from; torch's default one if None.
        Raises:
            ValueError: rank is below 1.
        """
        raise NotImplementedError("Task 6.3: LoRALinear.__init__")

    def forward(
        self, x: Float[Tensor, "... d_in"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "... d_out"]:
        """base(x) and the change, or base(x) alone once it is merged.

        Args:
            x: (..., d_in).
            generator: passed on to dropout.
        Returns:
            (..., d_out), same dtype and device as x.
        """
        raise NotImplementedError("Task 6.3: LoRALinear.forward")

    def merge(self) -> None:
        """Add scaling · lora_B lora_A to base.weight, in place: the layer then costs what base costs.

        The weight stays the same Parameter. A layer that is merged already is left as it is.
        """
        raise NotImplementedError("Task 6.3: LoRALinear.merge")

    def unmerge(self) -> None:
        """Take it out of base.weight again, in place; a layer that is not merged is left as it is."""
        raise NotImplementedError("Task 6.3: LoRALinear.unmerge")


def apply_lora(
    model: nn.Module,
    names: Sequence[str],
    rank: int,
    alpha: float,
    dropout: float = 0.0,
    generator: torch.Generator | None = None,
) -> list[str]:
    """Freeze the model and put a LoRALinear around each of its modules called by one of `names`.

    Only the factors require gradients afterwards; not those of the norms, embeddings or other layers.

    Args:
        model: changed in place.
        names: last parts of the modules' paths, such as "q_proj", which stands for blocks.0.attention.q_proj and all
            others of the name, but not for xq_proj.
        rank, alpha, dropout, generator: see LoRALinear.
    Returns:
        The paths of the modules that were wrapped, in the order of model.named_modules().
    Raises:
        ValueError: one of names is the name of no module; the model is then as it was.
    Source: Hu et al. 2022, section 4.2. Task 6.4.
    """
    raise NotImplementedError("Task 6.4: apply_lora")


class SequenceClassifier(nn.Module):
    """Scores of n_classes for a whole text: a linear layer on the model's features of its last real token.

    In a causal model the last token is the only one that has read all the others.

    Modules:
        model: the model, whose lm_head is not used.   head: Linear(d_model, n_classes) with bias.
    Source: Radford et al. 2018, section 3.2. Task 6.5.
    """

    def __init__(self, model: nn.Module, n_classes: int) -> None:
        """Register model and head.

        Args:
            model: d_model is the second axis of its lm_head.weight.
            n_classes: at least 2.
        Raises:
            ValueError: n_classes is below 2.
        """
        raise NotImplementedError("Task 6.5: SequenceClassifier.__init__")

    def forward(
        self, token_ids: Int[Tensor, "batch seq_len"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch n_classes"]:
        """The scores, before any softmax.

        Args:
            token_ids: (batch, seq_len), padded behind each text.
            lengths: (batch,), how many tokens of each row are real; the padding may hold any ids.
        Returns:
            (batch, n_classes).
        Raises:
            ValueError: one of lengths is below 1 or above seq_len.
        """
        raise NotImplementedError("Task 6.5: SequenceClassifier.forward")


def mix_datasets(
    datasets: Sequence[Sequence[Any]], weights: Sequence[float], generator: torch.Generator
) -> Iterator[Any]:
    """Items of several datasets for ever, each from dataset i with probability weights[i] / sum(weights).

    A little of the old text among the new keeps a model from forgetting it ("replay"). For each item,
        torch.multinomial(torch.tensor(weights, dtype=torch.float64), 1, generator=generator)
    says which dataset it comes from. The items of a dataset come in the order of torch.randperm(its length,
    generator=generator), drawn when its first item is wanted and again when all have been given: in each round every
    item comes once.

    Args:
        datasets: any number of sequences of anything.
        weights: one for each dataset, not negative; they need not sum to one, and have nothing to do with lengths.
        generator: makes the two kinds of draws, and nothing else is random.
    Returns:
        An iterator without an end. Nothing is drawn before its first item is asked for.
    Raises:
        ValueError: at the call, not at the first item: weights has another length than datasets, a negative number or
            no positive one, or a dataset with a positive weight is empty.
    Source: Rolnick et al. 2019, section 3; Ouyang et al. 2022, section 3.5. Task 6.6.
    """
    raise NotImplementedError("Task 6.6: mix_datasets")


def read_records(path: str | Path) -> list[dict[str, Any]]:
    """The records of a file: .json, .jsonl (one a line, empty lines left out) or .parquet (with pyarrow).

    A .json file holds a list of records, or an object with such a list under `data`. SQuAD's own files nest: an article
    in `data` has title and paragraphs, a paragraph has context and qas, and one of these has id, question and answers,
    [{"text": ..., "answer_start": ...}, ...]. Each becomes a flat record, as in the Hugging Face copy:
        {"id": ..., "title": ..., "context": ..., "question": ..., "answers": {"text": [...], "answer_start": [...]}}

    Returns:
        The records in the order of the file, other keys of a flat record kept.
    Raises:
        ValueError: path ends in none of the three.
    Source: Rajpurkar et al. 2016 and the files published with it. Task 6.7.
    """
    raise NotImplementedError("Task 6.7: read_records")


def squad_example(record: Mapping[str, Any]) -> dict[str, Any]:
    """A flat SQuAD record as {"messages": [...], "answers": [...]}.

    The user says "Text: CONTEXT\\nQuestion: QUESTION", the assistant the first answer. `answers` are all of them, as
    they stand and in their order: what the metrics accept. Without any (SQuAD 2.0) both are "unanswerable".

    Source: Rajpurkar et al. 2016 and 2018. Task 6.8.
    """
    raise NotImplementedError("Task 6.8: squad_example")


def summary_example(record: Mapping[str, Any], max_words: int | None = None) -> dict[str, Any]:
    """A CNN/DailyMail record as {"messages": [...], "answers": [...]}.

    The user says "Text: ARTICLE\\nSummarize the text." The assistant says the highlights, one a line in the record, as
    one line: each without white space around it, one space between two, empty ones left out. `answers` holds only this.

    Args:
        record: has article and highlights.
        max_words: keep only this many words from the start of the article, with one space between two words; news tell
            the main thing first. None = the article as it stands.
    Raises:
        ValueError: max_words is below 1.
    Source: Hermann et al. 2015; See et al. 2017, section 4. Task 6.9.
    """
    raise NotImplementedError("Task 6.9: summary_example")


def normalize_answer(text: str) -> str:
    """What counts of an answer: lower case, then no ASCII punctuation, then no a, an, the, then single spaces.

    normalize_answer(" The  well-known Cat's hat.") is "wellknown cats hat": a sign goes without leaving a space, and an
    article only as a whole word, made a space so that it does not join its neighbours.

    Source: Rajpurkar et al. 2016, section 6.1, and the evaluation script published with it. Task 6.10.
    """
    raise NotImplementedError("Task 6.10: normalize_answer")


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1.0 if the prediction is one of the answers after normalize_answer, else 0.0.

    Raises:
        ValueError: answers is empty.
    Source: Rajpurkar et al. 2016, section 6.1. Task 6.11.
    """
    raise NotImplementedError("Task 6.11: exact_match")


def token_f1(prediction: str, answers: Sequence[str]) -> float:
    """The largest F1 over the answers, of the words that prediction and answer share after normalize_answer.

    A word counts as often as it occurs in both. With n shared words, precision is n over the words of the prediction,
    recall n over those of the answer, and F1 = 2 precision recall / (precision + recall), 0 if nothing is shared. If
    one of the two has no word left, F1 is 1 when neither has, else 0.

    Raises:
        ValueError: answers is empty.
    Source: Rajpurkar et al. 2016, section 6.1, and the script of SQuAD 2.0. Task 6.12.
    """
    raise NotImplementedError("Task 6.12: token_f1")


def count_ngrams(words: Sequence[str], n: int) -> dict[tuple[str, ...], int]:
    """How often each run of n neighbouring words occurs: ["a", "b", "a", "b"] and n = 2 give {ab: 2, ba: 1}.

    Raises:
        ValueError: n is below 1.
    Task 6.13.
    """
    raise NotImplementedError("Task 6.13: count_ngrams")


def rouge_n(prediction: str, reference: str, n: int = 1) -> tuple[float, float, float]:
    """ROUGE-n: precision, recall and F1 of the runs of n words, each shared as often as it occurs in both.

    Words are the runs of a-z and 0-9 in the lower-cased text; everything else separates them. Words are not stemmed.
    Precision is over the runs of the prediction, recall over those of the reference; a share of none is 0.

    Source: Lin 2004, section 2; the words are those of rouge_score. Task 6.14.
    """
    raise NotImplementedError("Task 6.14: rouge_n")


def rouge_l(prediction: str, reference: str) -> tuple[float, float, float]:
    """ROUGE-L: precision, recall and F1 of the longest common subsequence, over all words of each text.

    A subsequence keeps the order but may leave words out. Words are those of rouge_n; without any, all three are 0.

    Source: Lin 2004, section 3.1, with beta = 1. Task 6.15.
    """
    raise NotImplementedError("Task 6.15: rouge_l")


def bleu(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    split: Callable[[str], list[str]] = str.split,
) -> float:
    """Corpus BLEU, from 0 to 100: BP · exp((log p1 + log p2 + log p3 + log p4) / 4), times 100.

    Over all predictions together: p_n is the number of their runs of n words that are in a reference, over the number
    of all their runs. In one prediction a run counts at most as often as in the one of its references that has it most.
    BP = exp(1 - r / c), at most 1, with c the words of all predictions and r those of the references nearest to each in
    length, the shorter of two equally near. A p_n without a match gets the numerator 1/2, the next such one 1/4, then
    1/8. The result is 0 if no word at all matches, or if the predictions have no run of 4 words.

    Args:
        predictions: texts.
        references: for each prediction the texts that would be right, at least one.
        split: cuts a text into words. sacrebleu's default also cuts off punctuation.
    Raises:
        ValueError: predictions is empty, references has another length, or one has no reference.
    Source: Papineni et al. 2002, section 2; smoothing: Chen and Cherry 2014, method 3; Post 2018. Task 6.16.
    """
    raise NotImplementedError("Task 6.16: bleu")
