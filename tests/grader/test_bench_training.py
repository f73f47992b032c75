"""The benchmark of training compares models that compute the same."""

import torch

from tests.bench.arranged import Arranged
from tests.bench.training import Shape, _ours, _published, compete_on_gpu

TINY = Shape(vocab_size=11, context_length=6, d_model=8, n_heads=2, n_layers=2, batch=3)


def test_the_rival_on_a_gpu_gives_the_logits_of_ours() -> None:
    state = _published(TINY)
    rival = Arranged(*TINY.model)
    rival.load_published(state)
    token_ids = torch.randint(11, (3, 6), generator=torch.Generator().manual_seed(1))
    for model, _ in _ours(TINY, state).values():
        torch.testing.assert_close(model(token_ids), rival(token_ids), atol=1e-6, rtol=1e-5)


def test_without_a_gpu_the_part_says_that_it_was_skipped(monkeypatch: object) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # type: ignore[attr-defined]
    assert compete_on_gpu(1) == {"note": "this machine has no GPU that torch can use, so training on one was skipped"}
