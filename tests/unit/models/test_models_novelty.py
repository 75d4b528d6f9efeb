import numpy as np
import pytest
import torch
from torch import Tensor

from models.novelty import KNOWN_BEYOND, Novelty, fit_novelty
from models.unknown import auroc

CENTERS = torch.tensor([[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 400.0]])


def draw(centers: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Embedding, class and scores of maps around `centers`, features of very different scale."""
    chance = torch.Generator().manual_seed(seed)
    labels = torch.randint(len(centers), (count,), generator=chance)
    noise = torch.randn(count, 3, generator=chance) * torch.tensor([0.5, 0.5, 50.0])
    return (
        centers[labels] + noise,
        labels,
        6.0 * torch.nn.functional.one_hot(labels, 3).float() - 3.0,
    )


@pytest.fixture(scope="module")
def fitted() -> Novelty:
    novelty = Novelty(3, 8)
    embedding, labels, _ = draw(CENTERS, 3000, 0)
    known, _, scores = draw(CENTERS, 3000, 1)
    fit_novelty(novelty, embedding, labels, known, scores)
    return novelty


def test_one_known_map_in_a_hundred_reaches_the_limit(fitted: Novelty) -> None:
    known, _, scores = draw(CENTERS, 20_000, 2)
    beyond = float((fitted(known, scores) >= 1.0).float().mean())
    assert beyond == pytest.approx(KNOWN_BEYOND, abs=0.005)


def test_far_from_every_class_is_novel(fitted: Novelty) -> None:
    known, _, scores = draw(CENTERS, 1000, 3)
    odd, _, odd_scores = draw(torch.tensor([[4.0, 4.0, 400.0]]).expand(3, 3), 1000, 4)
    assert auroc(fitted(known, scores).numpy(), fitted(odd, odd_scores).numpy()) > 0.95


def test_an_unsure_answer_is_more_novel_than_a_sure_one(fitted: Novelty) -> None:
    known, _, sure = draw(CENTERS, 1000, 5)
    unsure = torch.zeros_like(sure)
    assert bool((fitted(known, unsure) > fitted(known, sure)).all())


def test_combinations_of_patterns_are_kinds_of_their_own() -> None:
    embedding, labels, _ = draw(CENTERS, 3000, 0)
    known, _, scores = draw(CENTERS, 3000, 1)
    # The third kind is the first two patterns at once.
    sets = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])[labels]
    novelty = Novelty(3, 8)
    fit_novelty(novelty, embedding, sets, known, scores)
    both = draw(CENTERS[2:].expand(3, 3), 500, 6)
    assert float((novelty(both[0], both[2]) >= 1.0).float().mean()) < 0.05


@pytest.mark.parametrize("value", [0.0, 1e3, -1e3])
def test_novelty_stays_in_its_range(fitted: Novelty, value: float) -> None:
    got = fitted(torch.full((2, 3), value), torch.full((2, 3), value)).numpy()
    assert np.isfinite(got).all()
    assert 0.0 <= got.min() <= got.max() <= 2.0


def test_a_feature_that_never_changes_is_no_trouble() -> None:
    embedding, labels, scores = draw(CENTERS, 200, 0)
    flat = torch.cat((embedding, torch.ones(200, 1)), dim=1)
    novelty = Novelty(4, 8)
    fit_novelty(novelty, flat, labels, flat, scores)
    assert bool(torch.isfinite(novelty(flat, scores)).all())
