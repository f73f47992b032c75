"""What a dotted name of torch stands for, however it is written: torch.nn.modules.linear.Linear is torch.nn.Linear."""

import sys
from collections.abc import Iterable
from functools import lru_cache


@lru_cache(maxsize=10_000)
def resolve(dotted: str) -> object:
    """The function or class of torch that a dotted name reaches, else None. Only looked up: no code of torch runs."""
    first, *words = dotted.split(".")
    if first != "torch":
        return None
    import torch

    found: object = torch
    for index, word in enumerate(words):
        inside = vars(found) if hasattr(found, "__dict__") else {}
        found = inside.get(word, sys.modules.get(".".join(["torch", *words[: index + 1]])))
    return found if callable(found) else None


def by_object(entries: Iterable[str]) -> dict[int, str]:
    """The id of each thing that entries of course.toml name → the first entry that does."""
    return {id(known): entry for entry in reversed(list(entries)) if (known := resolve(entry)) is not None}
