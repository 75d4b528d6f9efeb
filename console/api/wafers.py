"""Wafers, their maps and pictures."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from console.api.alerts import Limit, Offset, Text
from console.decisions import MissingError
from console.png import DIE_PALETTE, HEAT_PALETTE, encode_png
from console.queries import wafers as queries
from console.services import Using
from console.times import LATEST_MS
from console.views import MapView, Page, WaferDetail, WaferView
from contracts.errors import DataError

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["wafers"])

Share = Annotated[float, Query(ge=0.0, le=1.0)]
Moment = Annotated[int, Query(ge=0, le=LATEST_MS)]


@router.get("/wafers")
def list_wafers(
    services: Using,
    site: Text = "",
    product: Text = "",
    lot: Text = "",
    pattern: Text = "",
    min_probability: Share = 0.0,
    max_probability: Share = 1.0,
    module: Text = "",
    from_ms: Moment | None = None,
    to_ms: Moment | None = None,
    mapped: bool = True,
    q: Text = "",
    limit: Limit = 60,
    offset: Offset = 0,
) -> Page[WaferView]:
    """Wafers, the latest first.

    `pattern=any` leaves out those without a pattern, `pattern=unknown` gives those unlike all that
    the model learned.
    """
    with services.read() as connection:
        return queries.list_wafers(
            connection,
            site=site,
            product=product,
            lot=lot,
            pattern=pattern,
            min_probability=min_probability,
            max_probability=max_probability,
            module=module,
            from_ms=from_ms,
            to_ms=to_ms,
            mapped=mapped,
            q=q,
            limit=limit,
            offset=offset,
        )


@router.get("/maps")
def maps(
    services: Using,
    wafer: Annotated[
        list[str], Query(min_length=1, max_length=120, description="site/substrate id")
    ],
) -> list[MapView]:
    """Die grids and heatmaps of up to 120 wafers."""
    keys = []
    for one in wafer:
        site, slash, substrate_id = one.partition("/")
        if not slash or not substrate_id or len(one) > 240:
            raise DataError(f"{one[:60]!r} is not site/substrate, such as kr1/L0001.07")
        keys.append((site, substrate_id))
    with services.read() as connection:
        return queries.wafer_maps(connection, keys)


@router.get(
    "/wafers/{site}/{substrate_id:path}/{what}.png",
    responses={200: {"content": {"image/png": {}}}},
)
def picture(services: Using, site: str, substrate_id: str, what: str) -> Response:
    """The die grid (`map.png`) or heatmap (`heatmap.png`), one pixel a die or cell."""
    if what not in ("map", "heatmap"):
        raise MissingError("there are map.png and heatmap.png")
    with services.read() as connection:
        values = queries.wafer_grid(connection, site, substrate_id, what)
    if values is None:
        raise MissingError(f"no {what} of {substrate_id!r} at {site!r} is stored")
    palette = DIE_PALETTE if what == "map" else HEAT_PALETTE
    return Response(encode_png(values, palette), media_type="image/png")


@router.get("/wafers/{site}/{substrate_id:path}")
def get_wafer(services: Using, site: str, substrate_id: str) -> WaferDetail:
    """One wafer with its history."""
    with services.read() as connection:
        found = queries.wafer_detail(connection, site, substrate_id)
    if found is None:
        raise MissingError(f"no wafer {substrate_id!r} at {site!r} is stored")
    return found


@router.get("/images/{event_id}", responses={200: {"content": {"image/png": {}}}})
def review_image(services: Using, event_id: str) -> Response:
    """A review image."""
    with services.read() as connection:
        png = queries.review_image(connection, event_id)
    if png is None:
        raise MissingError(f"no review image {event_id!r} is stored")
    return Response(png, media_type="image/png")
