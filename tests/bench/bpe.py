"""`python -m tests.bench.bpe`: training and encoding of the reference's tokenizer beside libraries written in Rust.

The text is the default corpus. Training runs beside the trainer of tokenizers on one thread, encoding beside tiktoken
with the same vocabulary, in turns; CPU seconds, since wall time on a busy machine says little.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

os.environ["RAYON_NUM_THREADS"] = "1"  # before tokenizers is imported
os.environ["TOKENIZERS_PARALLELISM"] = "false"
ROOT = Path(__file__).resolve().parents[2]
AIM = 5.0  # times the trainer in Rust
Facts = dict[str, Any]


def measure(text: str, vocab_size: int, rounds: int) -> Facts:
    """CPU seconds of each run, ours and theirs."""
    import tiktoken

    from reference.tokenizer import GPT2_PATTERN, Tokenizer, train_bpe

    vocab, merges = train_bpe(text, vocab_size)
    theirs = tiktoken.Encoding(
        "ours", pat_str=GPT2_PATTERN, mergeable_ranks={t: i for i, t in vocab.items()}, special_tokens={}
    )
    if Tokenizer(vocab, merges).encode(text) != theirs.encode_ordinary(text):
        raise SystemExit("the ids are not those of tiktoken: nothing to compare")
    runs: dict[str, Callable[[], object]] = {
        "train": lambda: train_bpe(text, vocab_size),
        "train_rival": lambda: rust_trainer(text, vocab_size),
        "encode": lambda: Tokenizer(vocab, merges).encode(text),  # a new one each time, with nothing in its cache
        "encode_rival": lambda: theirs.encode_ordinary(text),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = process_time()
            run()
            seconds[name].append(process_time() - start)
    return {"bytes": len(text.encode()), "vocab_size": vocab_size, "rounds": rounds, "seconds": seconds}


def rust_trainer(text: str, vocab_size: int) -> None:
    """The same training in the library tokenizers; only its rule for ties is another one."""
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.trainers import BpeTrainer

    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    alphabet = ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([text], trainer)
    if tokenizer.get_vocab_size() != vocab_size:
        raise SystemExit(f"the library learnt {tokenizer.get_vocab_size()} tokens, not {vocab_size}")


def table(facts: Facts) -> str:
    """Medians side by side."""
    one, megabytes = {name: median(found) for name, found in facts["seconds"].items()}, facts["bytes"] / 1e6
    rows = [
        ("", "reference", "in Rust", "ratio"),
        (
            f"BPE training to {facts['vocab_size']:,} tokens, CPU s (aim: at most {AIM:g} times)",
            f"{one['train']:.2f}",
            f"{one['train_rival']:.2f}",
            f"{one['train'] / one['train_rival']:.1f}",
        ),
        (
            "encoding, MB a CPU second, and tiktoken",
            f"{megabytes / one['encode']:.2f}",
            f"{megabytes / one['encode_rival']:.2f}",
            f"{one['encode'] / one['encode_rival']:.1f}",
        ),
    ]
    head = f"The tokenizer on {megabytes:.2f} MB of English, one thread; median of {facts['rounds']}, in turns"
    return "\n".join([head, *(f"   {name:64}{ours:>10}{theirs:>10}{ratio:>8}" for name, ours, theirs, ratio in rows)])


def main() -> None:
    """Measure and print; the reference and the corpus are those of this checkout."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bpe", description="Time the tokenizer beside Rust.")
    parser.add_argument("--vocab-size", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    asked = parser.parse_args()
    sys.path[:0] = [str(ROOT), str(ROOT / "handouts" / "demos")]
    import corpus

    facts = measure(corpus.text(), asked.vocab_size, asked.rounds)
    print(table(facts))
    if asked.json:
        asked.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
