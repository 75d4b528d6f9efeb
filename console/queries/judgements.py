"""What registered models of faults and of risk said of the traces of a wafer, and of a lot."""

import json

from sqlalchemy import Connection, select

from console import tables
from console.steering_views import ContributionView, JudgementView, ServedRisk

__all__ = ["lot_risks", "of_wafer"]

# A wafer has some hundred steps, and a few models at most.
_MOST = 500
# Of a lot: as many for each of 25 wafers.
_MOST_OF_A_LOT = 12_500

_j = tables.judgements


def of_wafer(connection: Connection, site: str, substrate_id: str) -> list[JudgementView]:
    """All that was said of one wafer, oldest first."""
    rows = connection.execute(
        select(_j)
        .where(_j.c.site == site, _j.c.substrate_id == substrate_id)
        .order_by(_j.c.time_ms, _j.c.task, _j.c.model, _j.c.event_id)
        .limit(_MOST)
    )
    return [
        JudgementView(
            time_ms=row.time_ms,
            module=row.module,
            recipe_id=row.recipe_id,
            step=row.step,
            task=row.task,
            score=row.score,
            reason=row.reason,
            contributions=[
                ContributionView(variable=name, value=value)
                for name, value in json.loads(row.contributions)
            ],
            troubles=json.loads(row.troubles),
            model=row.model,
            model_version=row.model_version,
        )
        for row in rows
    ]


def lot_risks(connection: Connection, site: str, lot_id: str) -> dict[str, list[ServedRisk]]:
    """By model, the latest risk of each wafer of a lot that it was asked about."""
    rows = connection.execute(
        select(_j)
        .where(
            _j.c.site == site,
            _j.c.lot_id == lot_id,
            _j.c.task == "risk",
            _j.c.score.is_not(None),
        )
        .order_by(_j.c.time_ms, _j.c.event_id)
        .limit(_MOST_OF_A_LOT)
    )
    latest: dict[str, dict[str, ServedRisk]] = {}
    for row in rows:
        latest.setdefault(row.model, {})[row.substrate_id] = ServedRisk(
            substrate_id=row.substrate_id,
            model=row.model,
            model_version=row.model_version,
            step=row.step,
            score=row.score,
            time_ms=row.time_ms,
        )
    return {model: list(wafers.values()) for model, wafers in sorted(latest.items())}
