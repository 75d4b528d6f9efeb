"""Wafer maps in, predictions out: what the processor calls for each batch."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from contracts.arrays import Array
from contracts.errors import DataError
from contracts.events import Event, Prediction, WaferMap
from contracts.model_file import predicted_labels
from contracts.wafer_map import canonical_maps, check_grid
from serving.repository import Loaded, ModelRepository
from serving.session import Outputs, Session

__all__ = ["Scorer", "prediction"]

# Where batching stops paying: mobilenetv3_small_100 at 64x64 gives 7,000 maps/s at 32, 7,900 at
# 128 on two cores. Larger batches only cost memory and latency.
_MAX_BATCH = 128


class Scorer:
    """Scores batches of events with the model that serves at that moment.

    May be called by several threads at once. On the CPU, sessions of one thread and as many calls
    at once as there are cores keep every core busy while others decode and commit; one run spread
    over all cores would wait for the core that they have taken.

    Args:
        repository: gives the model.
    """

    def __init__(self, repository: ModelRepository[Session]) -> None:
        self._repository = repository

    def __call__(self, events: Sequence[Event]) -> list[list[Event] | DataError]:
        """Per event its predictions, or why it cannot be scored.

        Events that are no wafer maps give nothing.

        Raises:
            ModelError: no model serves.
        """
        loaded = self._repository.current()
        size = loaded.session.card.canonical_size
        results: list[list[Event] | DataError] = [[] for _ in events]
        places: list[int] = []
        scored: list[WaferMap] = []
        grids: list[npt.NDArray[np.uint8]] = []
        for place, event in enumerate(events):
            if not isinstance(event, WaferMap):
                continue
            try:
                grids.append(check_grid(event.grid.numpy()))
            except DataError as error:
                results[place] = error
            else:
                places.append(place)
                scored.append(event)
        maps = canonical_maps(grids, size)
        for first in range(0, len(maps), _MAX_BATCH):
            part = slice(first, first + _MAX_BATCH)
            outputs = loaded.session.run(maps[part])
            for row, (place, event) in enumerate(zip(places[part], scored[part], strict=True)):
                results[place] = [prediction(event, loaded, outputs, row)]
        return results


def prediction(event: WaferMap, loaded: Loaded[Session], outputs: Outputs, row: int) -> Prediction:
    """The event that says what a model said about a wafer map, the `row`-th of a batch."""
    card, ref = loaded.session.card, loaded.ref
    probabilities = outputs.probabilities[row]
    predicted = tuple(predicted_labels(card, probabilities))
    # A wafer without a pattern has nowhere to point at.
    heatmap = None
    if predicted != ("None",):
        heatmap = Array.of(np.rint(outputs.heatmap[row].clip(0, 1) * 255).astype(np.uint8))
    return Prediction(
        event_id=Prediction.id_for(event.event_id, ref.name, ref.version),
        site=event.site,
        time_ms=event.time_ms,
        input_id=event.event_id,
        input_type=event.ce_type,
        lot_id=event.lot_id,
        substrate_id=event.substrate_id,
        slot=event.slot,
        labels=card.labels,
        probabilities=tuple(probabilities.tolist()),
        predicted=predicted,
        heatmap=heatmap,
        embedding=Array.of(outputs.embedding[row]),
        novelty=None if outputs.novelty is None else float(outputs.novelty[row]),
        model_name=ref.name,
        model_version=ref.version,
        model_sha256=loaded.session.sha256,
        provider=loaded.session.provider,
    )
