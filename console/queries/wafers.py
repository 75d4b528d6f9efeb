"""Wafers: the gallery, one wafer with its history, and maps."""

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, select, tuple_

from console import tables
from console.views import (
    ImageView,
    LabelView,
    MapView,
    MetrologyView,
    Page,
    Pixels,
    SimilarWafer,
    StackView,
    StepView,
    WaferDetail,
    WaferView,
)
from contracts.events import NOVELTY_LIMIT
from contracts.wafer_map import CANONICAL_SIZE, PATTERNS, canonical_map

__all__ = [
    "label_names",
    "label_queue",
    "list_wafers",
    "pixels",
    "products",
    "review_image",
    "stacked_map",
    "wafer_detail",
    "wafer_grid",
    "wafer_maps",
]

# Similar wafers are looked for among the latest; a larger search belongs to an index of vectors.
_SIMILAR_AMONG = 2000
_SIMILAR_SHOWN = 8
# Patterns that engineers name are few; a flood of them must not fill the page.
_DISTINCT_LABELS, _NAMES_SHOWN = 2000, 30

_w, _m, _p = tables.wafers, tables.wafer_maps, tables.predictions


def _joined(*columns: Any) -> Select[Any]:
    on_map = and_(_w.c.site == _m.c.site, _w.c.substrate_id == _m.c.substrate_id)
    on_prediction = and_(_w.c.site == _p.c.site, _w.c.substrate_id == _p.c.substrate_id)
    return select(*columns).select_from(_w.outerjoin(_m, on_map).outerjoin(_p, on_prediction))


_COLUMNS = (
    _w.c.site,
    _w.c.substrate_id,
    _w.c.lot_id,
    _w.c.product,
    _w.c.slot,
    func.coalesce(_m.c.time_ms, _w.c.fab_ms).label("fab_ms"),
    func.coalesce(_m.c.received_ms, _w.c.received_ms).label("received_ms"),
    func.coalesce(_p.c.pattern, "").label("pattern"),
    _p.c.probability,
    _m.c.good,
    _m.c.bad,
    _p.c.novelty,
)


def list_wafers(
    connection: Connection,
    *,
    site: str = "",
    product: str = "",
    lot: str = "",
    pattern: str = "",
    min_probability: float = 0.0,
    max_probability: float = 1.0,
    module: str = "",
    from_ms: int | None = None,
    to_ms: int | None = None,
    mapped: bool = True,
    q: str = "",
    limit: int = 60,
    offset: int = 0,
) -> Page[WaferView]:
    """Wafers, the latest first.

    `pattern` is one that was predicted, 'any' for every one but 'None', or 'unknown' for what is
    unlike all that the model learned; `module` is an
    equipment/module the wafer went through; `mapped` leaves out wafers that have no map yet.
    """
    where: list[ColumnElement[bool]] = []
    if site:
        where.append(_w.c.site == site)
    if product:
        where.append(_w.c.product == product)
    if lot:
        where.append(_w.c.lot_id == lot)
    if pattern == "any":
        where.append(_p.c.pattern != "None")
    elif pattern == "unknown":
        where.append(_p.c.novelty >= NOVELTY_LIMIT)
    elif pattern:
        where.append(_p.c.predicted.contains(json.dumps(pattern), autoescape=True))
    if min_probability > 0:
        where.append(_p.c.probability >= min_probability)
    if max_probability < 1:
        where.append(_p.c.probability <= max_probability)
    if module:
        through = select(tables.steps.c.site, tables.steps.c.substrate_id).where(
            tables.steps.c.module == module
        )
        where.append(tuple_(_w.c.site, _w.c.substrate_id).in_(through))
    if from_ms is not None:
        where.append(_w.c.fab_ms >= from_ms)
    if to_ms is not None:
        where.append(_w.c.fab_ms <= to_ms)
    if mapped:
        where.append(_m.c.event_id.is_not(None))
    if q:
        where.append(
            _w.c.substrate_id.icontains(q, autoescape=True)
            | _w.c.lot_id.icontains(q, autoescape=True)
        )
    total = connection.execute(_joined(func.count()).where(*where)).scalar_one()
    rows = connection.execute(
        _joined(*_COLUMNS)
        .where(*where)
        .order_by(_w.c.seen.desc(), _w.c.site, _w.c.substrate_id)
        .limit(limit)
        .offset(offset)
    )
    items = [WaferView(**row._mapping) for row in rows]
    return Page(items=items, total=total, limit=limit, offset=offset)


def label_queue(connection: Connection, limit: int) -> list[WaferView]:
    """Mapped wafers without a label: unknown patterns, then what the model is least sure of."""
    labelled = select(tables.labels.c.event_id).where(
        tables.labels.c.site == _w.c.site, tables.labels.c.substrate_id == _w.c.substrate_id
    )
    rows = connection.execute(
        _joined(*_COLUMNS)
        .where(_m.c.event_id.is_not(None), _p.c.event_id.is_not(None), ~labelled.exists())
        .order_by(
            case((_p.c.novelty >= NOVELTY_LIMIT, 0), else_=1),
            _p.c.probability,
            _w.c.seen.desc(),
        )
        .limit(limit)
    )
    return [WaferView(**row._mapping) for row in rows]


def label_names(connection: Connection) -> list[str]:
    """The patterns that a wafer can be said to show: ours, then those engineers have named."""
    texts = connection.execute(
        select(tables.labels.c.patterns).distinct().limit(_DISTINCT_LABELS)
    ).scalars()
    named = {name for patterns in texts for name in json.loads(patterns)}
    return [*PATTERNS, *sorted(named.difference(PATTERNS))[:_NAMES_SHOWN]]


def products(connection: Connection) -> list[str]:
    """The products that are stored, sorted."""
    found = connection.execute(select(_w.c.product).distinct().order_by(_w.c.product)).scalars()
    return [name for name in found if name]


def wafer_detail(connection: Connection, site: str, substrate_id: str) -> WaferDetail | None:
    """One wafer with its history; None if it is not stored."""
    extra = (
        _p.c.probabilities,
        _p.c.model,
        _p.c.model_version,
        _p.c.model_sha256,
        _p.c.provider,
        _p.c.embedding,
    )
    row = connection.execute(
        _joined(*_COLUMNS, *extra).where(_w.c.site == site, _w.c.substrate_id == substrate_id)
    ).first()
    if row is None:
        return None
    base = {column: row._mapping[column] for column in WaferView.model_fields}
    return WaferDetail(
        **base,
        steps=[
            StepView(**{name: one[name] for name in StepView.model_fields})
            for one in _of_wafer(connection, tables.steps, site, substrate_id, "sequence")
        ],
        metrology=[
            MetrologyView(**{name: one[name] for name in MetrologyView.model_fields})
            for one in _of_wafer(connection, tables.metrology, site, substrate_id, "time_ms")
        ],
        images=[
            ImageView(**{name: one[name] for name in ImageView.model_fields})
            for one in _of_wafer(connection, tables.review_images, site, substrate_id, "time_ms")
        ],
        probabilities=json.loads(row.probabilities) if row.probabilities else {},
        model=row.model or "",
        model_version=row.model_version or "",
        model_sha256=row.model_sha256 or "",
        provider=row.provider or "",
        label=_label(connection, site, substrate_id),
        similar=_similar(connection, site, substrate_id, row.embedding),
    )


def _of_wafer(
    connection: Connection, table: Any, site: str, substrate_id: str, order: str
) -> list[Any]:
    columns = [column for column in table.c if column.name != "png"]
    found = connection.execute(
        select(*columns)
        .where(table.c.site == site, table.c.substrate_id == substrate_id)
        .order_by(table.c[order])
        .limit(500)
    )
    return [row._mapping for row in found]


def _label(connection: Connection, site: str, substrate_id: str) -> LabelView | None:
    table = tables.labels
    row = connection.execute(
        select(table).where(table.c.site == site, table.c.substrate_id == substrate_id)
    ).first()
    if row is None:
        return None
    return LabelView(
        patterns=json.loads(row.patterns), by=row.by, comment=row.comment, time_ms=row.time_ms
    )


def _similar(
    connection: Connection, site: str, substrate_id: str, embedding: bytes | None
) -> list[SimilarWafer]:
    if not embedding:
        return []
    rows = connection.execute(
        select(_p.c.site, _p.c.substrate_id, _p.c.pattern, _p.c.embedding)
        .where(
            func.length(_p.c.embedding) == len(embedding),
            (_p.c.site != site) | (_p.c.substrate_id != substrate_id),
        )
        .order_by(_p.c.time_ms.desc())
        .limit(_SIMILAR_AMONG)
    ).all()
    if not rows:
        return []
    own = np.frombuffer(embedding, dtype="<f2").astype(np.float32)
    others = np.frombuffer(b"".join(row.embedding for row in rows), dtype="<f2")
    matrix = others.astype(np.float32).reshape(len(rows), -1)
    lengths = np.linalg.norm(matrix, axis=1) * np.linalg.norm(own)
    cosine = (matrix @ own) / np.maximum(lengths, 1e-9)
    best = np.argsort(-cosine, kind="stable")[:_SIMILAR_SHOWN]
    return [
        SimilarWafer(
            site=rows[index].site,
            substrate_id=rows[index].substrate_id,
            pattern=rows[index].pattern,
            similarity=float(cosine[index]),
        )
        for index in best.tolist()
    ]


def pixels(values: npt.NDArray[np.uint8]) -> Pixels:
    """A (rows, columns) uint8 image as it travels in JSON."""
    return Pixels(
        rows=values.shape[0],
        columns=values.shape[1],
        data=base64.b64encode(values.tobytes()).decode(),
    )


def wafer_maps(connection: Connection, keys: Sequence[tuple[str, str]]) -> list[MapView]:
    """Maps and heatmaps of some wafers, (site, substrate id) each, in the order asked for."""
    rows = connection.execute(
        _joined(
            _w.c.site,
            _w.c.substrate_id,
            _m.c.rows,
            _m.c.columns,
            _m.c.grid,
            _p.c.heatmap_rows,
            _p.c.heatmap_columns,
            _p.c.heatmap,
        ).where(tuple_(_w.c.site, _w.c.substrate_id).in_(keys))
    )
    found = {}
    for row in rows:
        heatmap = _image(row.heatmap, row.heatmap_rows, row.heatmap_columns)
        grid = _image(row.grid, row.rows, row.columns)
        found[row.site, row.substrate_id] = MapView(
            site=row.site,
            substrate_id=row.substrate_id,
            grid=pixels(grid) if grid is not None else None,
            heatmap=pixels(heatmap) if heatmap is not None else None,
        )
    return [found[key] for key in keys if key in found]


def _image(data: bytes | None, rows: int | None, columns: int | None) -> Any:
    if not data or not rows or not columns:
        return None
    return np.frombuffer(data, dtype=np.uint8).reshape(rows, columns)


def wafer_grid(
    connection: Connection, site: str, substrate_id: str, what: str
) -> npt.NDArray[np.uint8] | None:
    """The die grid (`what` 'map') or heatmap (`what` 'heatmap') of a wafer, or None."""
    if what == "map":
        statement = select(_m.c.grid, _m.c.rows, _m.c.columns).where(
            _m.c.site == site, _m.c.substrate_id == substrate_id
        )
    else:
        statement = select(_p.c.heatmap, _p.c.heatmap_rows, _p.c.heatmap_columns).where(
            _p.c.site == site, _p.c.substrate_id == substrate_id
        )
    row = connection.execute(statement).first()
    image: npt.NDArray[np.uint8] | None = _image(*row) if row else None
    return image


def review_image(connection: Connection, event_id: str) -> bytes | None:
    """The PNG of a review image, or None."""
    table = tables.review_images
    found = connection.execute(select(table.c.png).where(table.c.event_id == event_id)).scalar()
    return bytes(found) if found is not None else None


def stacked_map(connection: Connection, site: str, substrate_ids: Sequence[str]) -> StackView:
    """Where dies fail on average over some wafers, on the canonical map."""
    rows = connection.execute(
        select(_m.c.grid, _m.c.rows, _m.c.columns).where(
            _m.c.site == site, _m.c.substrate_id.in_(substrate_ids)
        )
    ).all()
    if not rows:
        return StackView(wafers=0, peak=0.0, pixels=None)
    share = np.zeros((CANONICAL_SIZE, CANONICAL_SIZE), dtype=np.float32)
    seen = np.zeros_like(share)
    for row in rows:
        canonical = canonical_map(_image(row.grid, row.rows, row.columns))
        on = canonical > 0
        share += np.where(on, np.maximum(canonical, 1) - 1.0, 0.0) / 254.0
        seen += on
    mean = share / np.maximum(seen, 1)
    # A place that is on most of the wafers is on the stacked one; at the rim there are places that
    # only ever show up where a die fails.
    on_most = 2 * seen > len(rows)
    peak = max(float(mean[on_most].max(initial=0.0)), 1e-6)
    drawn = np.where(on_most, 1 + np.round(254 * mean / peak), 0)
    return StackView(wafers=len(rows), peak=peak, pixels=pixels(drawn.astype(np.uint8)))
