"""A model of traces is one file too: what its ONNX metadata says, read by serving and evaluation.

The graph takes what was computed from the traces of N runs and returns what the model says of each;
names and widths of both are the task's own and stand in the card. The golden rows show what the
graph gave when it was exported, so that another one, or a damaged one, is not served.
The card is one JSON document under the metadata key `fabpilot.trace_model`.
"""

from typing import Literal

import msgspec

from contracts.arrays import Array
from contracts.errors import ModelFileError

__all__ = [
    "FORMAT",
    "METADATA_KEY",
    "REGISTERED_NAMES",
    "TASKS",
    "Task",
    "TraceCard",
    "decode_trace_card",
    "encode_trace_card",
    "task_of_name",
]

METADATA_KEY = "fabpilot.trace_model"
FORMAT = 1

Task = Literal["metrology", "fault", "risk"]
TASKS: tuple[Task, ...] = ("metrology", "fault", "risk")
REGISTERED_NAMES: dict[Task, str] = {task: f"trace-{task}" for task in TASKS}
"""What the registry calls the models of a task."""


def task_of_name(name: str) -> Task | None:
    """The task of a registered model of traces; None for one of wafer maps."""
    return next((task for task, known in REGISTERED_NAMES.items() if known == name), None)


class TraceCard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a trace model's file says about itself.

    Attributes:
        format: of this document; a reader refuses one it does not know.
        name: the registered name, such as 'trace-metrology'.
        task: what it answers.
        architecture: what it is, for people.
        variables: V names in the order in which the features are computed from them.
        data_name: of the set it was trained on, such as 'phm2016_cmp'.
        data_fingerprint: of the runs it was trained on.
        metrics: measured on runs that it was not trained on, such as {'rmse': 2.7}.
        code_version: of fabpilot when it was trained.
        golden_inputs: by name of an input, (G, ...) float32, to try the graph on before it serves.
        golden_outputs: by name of an output, (G, ...) float32, what they gave at export.
        detail: JSON document of the task: how features are computed, limits, history.
    """

    format: int = FORMAT
    name: str
    task: Task
    architecture: str
    variables: tuple[str, ...]
    data_name: str
    data_fingerprint: str
    metrics: dict[str, float]
    code_version: str
    golden_inputs: dict[str, Array]
    golden_outputs: dict[str, Array]
    detail: msgspec.Raw = msgspec.Raw(b"{}")


def encode_trace_card(card: TraceCard) -> str:
    """The metadata document of a card."""
    return msgspec.json.encode(card).decode()


def decode_trace_card(text: str) -> TraceCard:
    """The card in a metadata document.

    Raises:
        ModelFileError: it is not one, of another format, or contradicts itself.
    """
    try:
        card = msgspec.json.decode(text, type=TraceCard)
    except msgspec.DecodeError as error:
        raise ModelFileError(f"the model's metadata is not ours: {error}") from error
    if card.format != FORMAT:
        raise ModelFileError(f"model file format {card.format}; this version reads {FORMAT}")
    golden = [*card.golden_inputs.values(), *card.golden_outputs.values()]
    rows = {array.shape[0] if array.shape else 0 for array in golden}
    if not card.golden_inputs or not card.golden_outputs or len(rows) != 1 or 0 in rows:
        raise ModelFileError("the model has no golden rows, or not the same number everywhere")
    return card
