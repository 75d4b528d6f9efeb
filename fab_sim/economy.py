"""What things cost, in good dies, and what a fab is worth an hour.

One table, docs/fab.md has the same. The unit is a wafer's worth of dies, so that a product with
small dies weighs no more than one with large ones. The numbers are orders of magnitude for a line
with several modules of each kind, where most of what a stopped module does not make is made by its
twins. They were chosen so that the false stops of textbook charts cost less than the excursions of
the built-in scenarios: what policies are worth depends on them, and is to be read beside them.
"""

from typing import NamedTuple

__all__ = ["COSTS", "Costs"]


class Costs(NamedTuple):
    """Costs in wafers' worth of dies.

    Attributes:
        module_hour: an hour in which a module is down or inhibited.
        lot_hour: an hour that a lot spends on the line: tied-up material, later learning.
        measurement: a wafer measured or inspected at one stop.
        recipe_change: to qualify a changed recipe on a module.
        scrap: material and the work on a wafer that is thrown away; its dies are lost besides.
    """

    module_hour: float = 0.02
    lot_hour: float = 0.002
    measurement: float = 0.02
    recipe_change: float = 0.5
    scrap: float = 1.0


COSTS = Costs()
