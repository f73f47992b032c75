"""The reference of module 6 against peft, rouge-score, sacrebleu and datasets; given lightly as well."""

import copy
import json
import random
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from assignments.given import finetuning as given
from reference import finetuning, gpt, tokenizer, training

BOTH = pytest.mark.parametrize("impl", [finetuning, given], ids=["reference", "given"])
TEXT = "the a an cat Cat, sat on mat. dog's ran U.S. 3,000 x-y café it's to of (red) & 4.5 the the"
WORDS = TEXT.split()
SPECIALS = ["<|system|>", "<|user|>", "<|assistant|>", "<|endoftext|>"]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def texts(seed: int, count: int, longest: int = 14, shortest: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(shortest, longest))) for _ in range(count)]


# ---- LoRA against peft ----


class Stack(nn.Module):
    """Two blocks with several kinds of linear layers, some with a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.ModuleDict(self.layers()) for _ in range(2)])

    @staticmethod
    def layers() -> dict[str, nn.Module]:
        return {"q_proj": nn.Linear(6, 8), "xq_proj": nn.Linear(8, 5, bias=False), "up": nn.Linear(5, 6)}

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block["up"](torch.tanh(block["xq_proj"](torch.tanh(block["q_proj"](x)))))
        return x


def stack() -> Stack:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Stack().double()


def both_adapted(impl: ModuleType, names: list[str], rank: int, alpha: int, dropout: float = 0.0) -> tuple[Any, Any]:
    """Our model and peft's, with the same base and the same factors."""
    peft = pytest.importorskip("peft")
    ours, base = stack(), stack()
    paths = impl.apply_lora(ours, names, rank, alpha, dropout, generator())
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=names, bias="none")
    theirs = peft.get_peft_model(base, config).double()
    for seed, path in enumerate(paths):
        mine, other = ours.get_submodule(path), theirs.base_model.model.get_submodule(path)
        with torch.no_grad():
            mine.lora_B.normal_(generator=generator(seed))
            other.lora_A["default"].weight.copy_(mine.lora_A)
            other.lora_B["default"].weight.copy_(mine.lora_B)
    return ours, theirs


@BOTH
@pytest.mark.parametrize(
    ("names", "rank", "alpha"), [(["q_proj"], 3, 5), (["up", "xq_proj"], 2, 1), (["q_proj"], 4, 4)]
)
def test_lora_outputs_and_gradients_are_those_of_peft(
    impl: ModuleType, names: list[str], rank: int, alpha: int
) -> None:
    ours, theirs = both_adapted(impl, names, rank, alpha)
    x = torch.randn(4, 6, generator=generator(1), dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-12, atol=1e-12)
    ours(x).square().sum().backward()
    theirs(x).square().sum().backward()
    mine = {name: p.grad for name, p in ours.named_parameters() if p.requires_grad}
    others = {
        name.removeprefix("base_model.model.").removesuffix(".default.weight"): p.grad
        for name, p in theirs.named_parameters()
        if p.requires_grad
    }
    assert mine.keys() == others.keys()
    for name, gradient in mine.items():
        torch.testing.assert_close(gradient, others[name], rtol=1e-10, atol=1e-12)


@BOTH
def test_lora_merge_and_unmerge_give_the_weights_of_peft(impl: ModuleType) -> None:
    ours, theirs = both_adapted(impl, ["q_proj", "up"], 3, 7)
    before = {name: p.detach().clone() for name, p in ours.named_parameters()}
    layers = [module for module in ours.modules() if isinstance(module, impl.LoRALinear)]
    for layer in layers:
        layer.merge()
    x = torch.randn(4, 6, generator=generator(1), dtype=torch.float64)
    merged = theirs.merge_and_unload()
    for name, parameter in merged.named_parameters():
        mine = name if name in before else name.replace(".weight", ".base.weight").replace(".bias", ".base.bias")
        torch.testing.assert_close(ours.get_parameter(mine), parameter, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours(x), merged(x), rtol=1e-12, atol=1e-12)
    for layer in layers:
        layer.unmerge()
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter, before[name], rtol=1e-12, atol=1e-12)


@BOTH
def test_lora_dropout_is_that_of_peft_for_the_same_mask(impl: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = both_adapted(impl, ["q_proj"], 3, 5, dropout=0.4)
    layers = [block["q_proj"] for block in ours.blocks]
    keep = [torch.rand(4, 6, generator=generator(i)) > 0.4 for i in range(2)]
    for i, layer in enumerate(layers):
        monkeypatch.setattr(layer.dropout, "keep_mask", lambda *_, i=i, **__: keep[i])
        other = theirs.base_model.model.blocks[i]["q_proj"].lora_dropout["default"]
        monkeypatch.setattr(other, "forward", lambda x, i=i: x * keep[i] / 0.6)
    x = torch.randn(4, 6, generator=generator(1), dtype=torch.float64)
    torch.testing.assert_close(ours.train()(x), theirs.train()(x), rtol=1e-12, atol=1e-12)
    assert not torch.equal(ours(x), ours.eval()(x))


@BOTH
def test_lora_serves_the_gpt_of_module_3(impl: ModuleType) -> None:
    model = gpt.GPT(11, 8, 12, 2, 2)
    gpt.init_weights(model, generator())
    ids = torch.randint(11, (2, 7), generator=generator(1))
    before = model(ids)
    assert len(impl.apply_lora(model, ["q_proj", "down_proj"], 2, 4, generator=generator())) == 4
    torch.testing.assert_close(model(ids), before)
    classes = impl.SequenceClassifier(model, 3)(ids, torch.tensor([7, 4]))
    assert classes.shape == (2, 3)


# ---- metrics against rouge-score and sacrebleu ----


@BOTH
def test_rouge_is_that_of_rouge_score(impl: ModuleType) -> None:
    rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rouge3", "rougeL"])
    for prediction, reference in zip(texts(1, 300), texts(2, 300), strict=True):
        right = scorer.score(reference, prediction)
        for n in (1, 2, 3):
            assert impl.rouge_n(prediction, reference, n) == pytest.approx(tuple(right[f"rouge{n}"]), abs=1e-12)
        assert impl.rouge_l(prediction, reference) == pytest.approx(tuple(right["rougeL"]), abs=1e-12)


@BOTH
@pytest.mark.parametrize("tokenize", ["none", "13a"])
def test_bleu_is_that_of_sacrebleu(impl: ModuleType, tokenize: str) -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    cut = pytest.importorskip("sacrebleu.tokenizers.tokenizer_13a").Tokenizer13a()
    split = (lambda text: cut(text).split()) if tokenize == "13a" else str.split
    for seed in range(60):
        predictions = texts(seed, 1 + seed % 4)
        streams = [texts(seed + 1000 * k, len(predictions), shortest=1) for k in (1, 2, 3)]
        if seed % 2:  # so that long runs match too
            streams[0] = [f"{text} mat." for text in predictions]
        right = sacrebleu.corpus_bleu(predictions, streams, tokenize=tokenize, force=True).score
        references = [list(several) for several in zip(*streams, strict=True)]
        assert impl.bleu(predictions, references, split) == pytest.approx(right, abs=1e-9)


@BOTH
@pytest.mark.parametrize(
    ("prediction", "answers", "em", "f1"),
    [  # worked out by hand from the definition
        ("The Cat.", ["cat"], 1.0, 1.0),
        ("cat sat on mat", ["the cat lay on a mat"], 0.0, 0.75),
        ("red red", ["red"], 0.0, 2 / 3),
        ("well-known", ["well known", "wellknown"], 1.0, 1.0),
        ("the", [""], 1.0, 1.0),
        ("cat", ["the"], 0.0, 0.0),
    ],
)
def test_squad_metrics_by_hand(impl: ModuleType, prediction: str, answers: list[str], em: float, f1: float) -> None:
    assert impl.exact_match(prediction, answers) == em
    assert impl.token_f1(prediction, answers) == pytest.approx(f1)


@BOTH
def test_numbers_of_the_handout(impl: ModuleType) -> None:
    prediction, answer = "the cat sat on the mat", "the cat lay on a mat"
    assert impl.token_f1(prediction, [answer]) == pytest.approx(0.75)
    assert impl.rouge_n(prediction, answer)[0] == pytest.approx(4 / 6)
    assert impl.rouge_n(prediction, answer, 2)[0] == pytest.approx(1 / 5)
    assert impl.rouge_l(prediction, answer)[0] == pytest.approx(4 / 6)
    assert impl.bleu([prediction], [[answer]]) == pytest.approx(19.30, abs=0.005)


# ---- records ----

RECORDS = [
    {
        "id": "1",
        "title": "T",
        "context": "C é",
        "question": "Q?",
        "answers": {"text": ["C", "é"], "answer_start": [0, 2]},
    },
    {"id": "2", "title": "T", "context": "D", "question": "R?", "answers": {"text": [], "answer_start": []}},
]


@BOTH
def test_read_records_reads_what_datasets_writes(impl: ModuleType, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_list(RECORDS)
    table.to_parquet(tmp_path / "squad.parquet")
    table.to_json(tmp_path / "squad.jsonl", force_ascii=False)
    assert impl.read_records(tmp_path / "squad.parquet") == RECORDS
    assert impl.read_records(tmp_path / "squad.jsonl") == RECORDS
    # an iterable of records, as load_dataset gives it, needs no file
    assert [impl.squad_example(record) for record in table] == [impl.squad_example(record) for record in RECORDS]


@BOTH
def test_read_records_of_both_formats_agree(impl: ModuleType, tmp_path: Path) -> None:
    qas = [
        {"id": r["id"], "question": r["question"], "answers": [{"text": t, "answer_start": s} for t, s in pairs]}
        for r, pairs in zip(RECORDS, ([("C", 0), ("é", 2)], []), strict=True)
    ]
    paragraphs = [{"context": r["context"], "qas": [qa]} for r, qa in zip(RECORDS, qas, strict=True)]
    nested = {"version": "2.0", "data": [{"title": "T", "paragraphs": paragraphs}]}
    (tmp_path / "squad.json").write_text(json.dumps(nested), encoding="utf-8")
    assert impl.read_records(tmp_path / "squad.json") == RECORDS


# ---- chats and batches ----


@BOTH
def test_chat_of_a_real_tokenizer_comes_back_as_text(impl: ModuleType) -> None:
    made = tokenizer.Tokenizer(*tokenizer.train_bpe("the cat sat on the mat " * 5, 270, SPECIALS), SPECIALS)
    messages = [{"role": "user", "content": "the cat?"}, {"role": "assistant", "content": "on the mat"}]
    ids, flags = impl.format_chat(messages, made)
    assert made.decode(ids) == "<|user|>the cat?<|endoftext|><|assistant|>on the mat<|endoftext|>"
    assert made.decode([i for i, flag in zip(ids, flags, strict=True) if flag]) == "on the mat<|endoftext|>"
    asked, _ = impl.format_chat(messages[:1], made, ask=True)
    assert ids[: len(asked)] == asked


@BOTH
def test_loss_of_a_batch_is_the_mean_over_the_answers(impl: ModuleType) -> None:
    examples = [([1, 2, 3, 4], [False, False, True, True]), ([5, 6, 4], [False, False, True])]
    token_ids, targets = impl.collate(examples, 4, 10)
    logits = torch.randn(*token_ids.shape, 9, generator=generator(), dtype=torch.float64)
    logs = logits.log_softmax(dim=-1)
    by_hand = -(logs[0, 1, 3] + logs[0, 2, 4] + logs[1, 1, 4]) / 3
    torch.testing.assert_close(training.cross_entropy(logits, targets), by_hand)


@BOTH
def test_mix_keeps_the_proportion_and_every_round_whole(impl: ModuleType) -> None:
    old, new = list(range(50)), list(range(100, 107))
    drawn = list(islice(impl.mix_datasets([old, new], [1, 3], generator(3)), 4000))
    assert sum(item < 100 for item in drawn) / 4000 == pytest.approx(0.25, abs=0.03)
    rounds = [item for item in drawn if item >= 100]
    assert all(sorted(rounds[i : i + 7]) == new for i in range(0, len(rounds) - 7, 7))


def test_one_step_on_answers_lowers_their_loss() -> None:
    model = gpt.GPT(11, 8, 12, 2, 1)
    gpt.init_weights(model, generator())
    frozen = copy.deepcopy(model)
    finetuning.apply_lora(model, ["q_proj", "up_proj"], 2, 8, generator=generator())
    batch = finetuning.collate([([1, 2, 3, 4], [False, False, True, True])], 0, 8)
    optimizer = training.AdamW(training.parameter_groups(model, 0.0), lr=0.05)
    losses = [training.train_step(model, optimizer, [batch], 0.05)[0] for _ in range(5)]
    assert losses == sorted(losses, reverse=True)
    assert torch.equal(model.lm_head.weight, frozen.lm_head.weight)
