import math

import pytest
import torch

from models.augment import dihedral, random_views, rotate


def _maps(count: int, seed: int = 0) -> torch.Tensor:
    chance = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 16, 16), dtype=torch.uint8, generator=chance)


def test_the_eight_symmetries_are_eight() -> None:
    one = _maps(1).expand(8, -1, -1)
    views = dihedral(one, torch.arange(8))
    assert len({tuple(view.flatten().tolist()) for view in views}) == 8
    assert all(
        torch.equal(view.flatten().sort().values, one[0].flatten().sort().values) for view in views
    )


@pytest.mark.parametrize("element", [0, 1, 2, 3, 4, 7])
def test_symmetries_that_are_their_own_inverse(element: int) -> None:
    maps, which = _maps(3), torch.full((3,), element)
    assert torch.equal(dihedral(dihedral(maps, which), which), maps)


def test_each_map_gets_its_own_symmetry() -> None:
    maps = _maps(2)
    views = dihedral(maps, torch.tensor([0, 1]))
    assert torch.equal(views[0], maps[0])
    assert torch.equal(views[1], maps[1].flip(1))


def test_turning_by_a_quarter_is_exact() -> None:
    maps = _maps(2)
    turned = rotate(maps, torch.full((2,), math.pi / 2))
    assert torch.equal(turned, maps.rot90(1, (1, 2))) or torch.equal(turned, maps.rot90(-1, (1, 2)))


def test_turning_invents_no_codes() -> None:
    maps = _maps(4)
    turned = rotate(maps, torch.tensor([0.3, 1.0, 2.0, 4.0]))
    assert turned.dtype == torch.uint8
    for before, after in zip(maps, turned, strict=True):
        assert set(after.unique().tolist()) <= {0, *before.unique().tolist()}


def test_views_depend_on_the_generator_alone_and_spare_the_input() -> None:
    maps = _maps(32)
    kept = maps.clone()
    first = random_views(maps, torch.Generator().manual_seed(5))
    torch.rand(3)
    assert torch.equal(first, random_views(maps, torch.Generator().manual_seed(5)))
    assert not torch.equal(first, random_views(maps, torch.Generator().manual_seed(6)))
    assert torch.equal(maps, kept)
