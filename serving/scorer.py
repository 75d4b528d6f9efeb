"""Wafer maps in, predictions out: what the processor calls for each batch."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import numpy as np
import numpy.typing as npt

from contracts.arrays import Array
from contracts.errors import DataError
from contracts.events import Event, Prediction, WaferMap
from contracts.model_file import predicted_labels
from contracts.wafer_map import canonical_map
from serving.repository import Loaded, ModelRepository
from serving.session import Outputs

__all__ = ["Scorer"]

# Where batching stops paying: mobilenetv3_small_100 at 64x64 gives 7,000 maps/s at 32, 7,900 at
# 128 on two cores. Larger batches only cost memory and latency.
_MAX_BATCH = 128


class Scorer:
    """Scores batches of events with the model that serves at that moment.

    Args:
        repository: gives the model.
        workers: how many parts of a batch to score at once, each in a thread of its own. With
            sessions of one thread this keeps every core busy while others decode and commit; one
            run spread over all cores would wait for the core that they have taken.
    """

    def __init__(self, repository: ModelRepository, *, workers: int = 1) -> None:
        self._repository = repository
        self._workers = workers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="score")

    def __call__(self, events: Sequence[Event]) -> list[list[Event] | DataError]:
        """Per event its predictions, or why it cannot be scored.

        Events that are no wafer maps give nothing.

        Raises:
            ModelError: no model serves.
        """
        loaded = self._repository.current()
        size = loaded.session.card.canonical_size
        results: list[list[Event] | DataError] = [[] for _ in events]
        maps: list[npt.NDArray[np.uint8]] = []
        places: list[int] = []
        scored: list[WaferMap] = []
        for place, event in enumerate(events):
            if not isinstance(event, WaferMap):
                continue
            try:
                maps.append(canonical_map(event.grid.numpy(), size))
            except DataError as error:
                results[place] = error
            else:
                places.append(place)
                scored.append(event)
        part = max(1, min(_MAX_BATCH, -(-len(maps) // self._workers)))

        def score(first: int) -> list[Prediction]:
            return _score(loaded, scored[first : first + part], maps[first : first + part])

        predictions = chain.from_iterable(self._pool.map(score, range(0, len(maps), part)))
        for place, prediction in zip(places, predictions, strict=True):
            results[place] = [prediction]
        return results

    def close(self) -> None:
        """Let the threads go. May be called twice."""
        self._pool.shutdown()


def _score(
    loaded: Loaded, events: Sequence[WaferMap], maps: Sequence[npt.NDArray[np.uint8]]
) -> list[Prediction]:
    outputs = loaded.session.run(np.stack(maps))
    return [_prediction(event, loaded, outputs, row) for row, event in enumerate(events)]


def _prediction(event: WaferMap, loaded: Loaded, outputs: Outputs, row: int) -> Prediction:
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
        model_name=ref.name,
        model_version=ref.version,
        model_sha256=loaded.session.sha256,
        provider=loaded.session.provider,
    )
