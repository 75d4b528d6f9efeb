"""How unlike anything it learned a map is, from what the network makes of it anyway.

Two signs, because each misses what the other sees: the embedding lies far from that of every known
class (Mahalanobis distance with one covariance for all classes; Lee et al., NeurIPS 2018), and the
answers are unsure (entropy of the yes or no for each pattern). What was compared is in
docs/models.md.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["KNOWN_BEYOND", "Novelty", "fit_novelty"]

KNOWN_BEYOND = 0.01
"""Share of known maps that reach the limit."""

# Of the mean variance, added to each: directions that a sample hardly shows must not rule.
_SHRINKAGE = 0.01
# A combination of patterns needs so many maps for a mean of its own.
_FEWEST = 10
_TINY = 1e-9
# Of distance and unsureness, both in standard deviations over known maps (docs/models.md).
_WEIGHTS = (2.0, 1.0)


class Novelty(nn.Module):
    """Novelty of maps, 0 to 2; 1 is the limit that one known map in a hundred reaches.

    Does nothing useful before `fit_novelty`.

    Args:
        features: D, of the embedding.
        clusters: K, how many kinds of known maps there are at most.
    """

    whitening: Tensor
    means: Tensor
    center: Tensor
    spread: Tensor
    limit: Tensor

    def __init__(self, features: int, clusters: int) -> None:
        super().__init__()
        self.register_buffer("whitening", torch.eye(features))
        self.register_buffer("means", torch.zeros(clusters, features))
        # Of the logarithm of each sign over known maps.
        self.register_buffer("center", torch.zeros(2))
        self.register_buffer("spread", torch.ones(2))
        self.register_buffer("limit", torch.zeros(()))

    def signs(self, embedding: Tensor, scores: Tensor) -> Tensor:
        """Logarithms (N, 2) of squared distance and of entropy.

        Args:
            embedding: (N, D).
            scores: (N, C), raw.
        """
        white = embedding @ self.whitening
        squares = (white**2).sum(dim=1, keepdim=True) + (self.means**2).sum(dim=1)
        distance = (squares - 2.0 * white @ self.means.T).amin(dim=1).clamp(min=_TINY)
        # Entropy in terms of softplus, which is exact where sigmoid has run into 0 or 1.
        yes = torch.sigmoid(scores)
        unsure = (
            yes * functional.softplus(-scores) + (1.0 - yes) * functional.softplus(scores)
        ).sum(dim=1)
        return torch.stack((distance.log(), (unsure + _TINY).log()), dim=1)

    def forward(self, embedding: Tensor, scores: Tensor) -> Tensor:
        """(N,) in 0..2."""
        return 2.0 * torch.sigmoid(self.together(embedding, scores) - self.limit)

    def together(self, embedding: Tensor, scores: Tensor) -> Tensor:
        """Both signs as one number (N,), 0 on average over known maps."""
        usual = (self.signs(embedding, scores) - self.center) / self.spread
        return _WEIGHTS[0] * usual[:, 0] + _WEIGHTS[1] * usual[:, 1]


@torch.no_grad()
def fit_novelty(
    novelty: Novelty,
    embedding: Tensor,
    labels: Tensor,
    known_embedding: Tensor,
    known_scores: Tensor,
) -> None:
    """Set what `novelty` compares with.

    Args:
        novelty: to be set.
        embedding: (N, D), of maps that were trained on.
        labels: (N,) classes, or (N, C) of 0 and 1; each combination is a kind of its own.
        known_embedding: (M, D), of known maps that were not trained on: a network knows its own
            training maps better than any later ones.
        known_scores: (M, C), raw, of the same.
    """
    _, kind = torch.unique(labels, dim=0, return_inverse=True)
    counts = torch.bincount(kind)
    # A kind too rare for a mean is left out, unless all are.
    kept = torch.nonzero(counts >= min(_FEWEST, int(counts.max()))).squeeze(1)[: len(novelty.means)]
    exact = embedding.double()
    means = torch.stack([exact[kind == number].mean(dim=0) for number in kept])
    inside = torch.cat([exact[kind == n] - m for n, m in zip(kept, means, strict=True)])
    scale = exact.std(dim=0).clamp(min=1e-6)
    covariance = (inside / scale).T @ (inside / scale) / len(inside)
    covariance += (
        _SHRINKAGE * covariance.diagonal().mean() * torch.eye(len(covariance)).to(covariance)
    )
    values, vectors = torch.linalg.eigh(covariance)
    whitening = (vectors / values.clamp(min=1e-12).sqrt()) / scale[:, None]
    novelty.whitening.copy_(whitening)
    # Unused rows repeat the first: the nearest of all stays the same.
    white = means @ whitening
    novelty.means.copy_(white[[*range(len(white)), *[0] * (len(novelty.means) - len(white))]])
    signs = novelty.signs(known_embedding, known_scores)
    novelty.center.copy_(signs.mean(dim=0))
    novelty.spread.copy_(signs.std(dim=0).clamp(min=1e-6))
    both = novelty.together(known_embedding, known_scores)
    novelty.limit.copy_(torch.quantile(both, 1.0 - KNOWN_BEYOND))
