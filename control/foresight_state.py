"""What the controller remembers to foresee: risk of wafers, and virtual metrology."""

import msgspec

__all__ = [
    "Episode",
    "Mark",
    "Rate",
    "RiskRecord",
    "VirtualGroup",
    "VirtualLine",
    "VirtualModel",
]


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """Something odd about a step of a wafer, as `control.risk` saw it then.

    Attributes:
        sequence: of the step in the route.
        level: how strong the evidence is; index into `control.risk_rates.LEVELS`.
        sign: what was odd; index into `RiskRecord.signs`.
    """

    sequence: int
    level: int
    sign: int


class Rate(msgspec.Struct, array_like=True):
    """How often a kind of evidence was followed by a bad wafer.

    Attributes:
        bad: wafers it spoilt, each by the share of the blame that it has.
        expected: as many as were foreseen without this record.
        wafers: how many there were, of late.
        patterns: what the bad ones showed, by index into `RiskRecord.patterns`.
    """

    bad: float = 0.0
    expected: float = 0.0
    wafers: float = 0.0
    patterns: dict[int, float] = msgspec.field(default_factory=dict)


class Episode(msgspec.Struct, array_like=True):
    """A stretch of time in which a module's traces were out of their limits.

    Attributes:
        since_ms: of the first wafer; `until_ms` of the last, -1 while it goes on.
        traces: seen since then.
        quiet: of these, how many in a row are normal again.
        rate: what became of its wafers.
    """

    module: str
    since_ms: int
    until_ms: int = -1
    traces: int = 0
    quiet: int = 0
    rate: Rate = msgspec.field(default_factory=Rate)


class RiskRecord(msgspec.Struct):
    """What was learned about the risk of wafers.

    Attributes:
        patterns: names of patterns, in the order in which they were first seen.
        signs: what can be odd, such as 'etch rf_power_w+', in the same order.
        levels: rate of each level of evidence.
        by_sign: rate of each sign, over all modules.
        base: of wafers about which nothing is odd.
        episodes: stretches out of limits, the latest last.
        last_sequence: the last step before the test; -1 until it is known.
        last_votes: by how many wafers it is ahead.
    """

    patterns: list[str] = msgspec.field(default_factory=list)
    signs: list[str] = msgspec.field(default_factory=list)
    levels: list[Rate] = msgspec.field(default_factory=list)
    by_sign: dict[int, Rate] = msgspec.field(default_factory=dict)
    base: Rate = msgspec.field(default_factory=Rate)
    episodes: list[Episode] = msgspec.field(default_factory=list)
    last_sequence: int = -1
    last_votes: int = 0


class VirtualLine(msgspec.Struct, array_like=True):
    """Weights of virtual metrology, shared by the steps and modules of one kind.

    Attributes:
        variables: F trace variables.
        learned: measured wafers.
        numbers: float32 bytes: upper triangle of the (F, F) information, then its (F,) target.
        agreed: sum of the weights' word times what was measured, over ordinary wafers.
        spoken: sum of the squares of their word.
    """

    variables: list[str]
    learned: int = 0
    numbers: bytes = b""
    agreed: float = 0.0
    spoken: float = 0.0


class VirtualModel(msgspec.Struct, array_like=True):
    """Virtual metrology of one parameter after one step.

    Attributes:
        learned: measured wafers.
        means: module to how many of its wafers were measured, and their running mean.
        variance: of the errors.
        errors: the latest, over what their doubt was.
        level: share of errors beyond the interval that it aims at now.
        told: module to the lot of which a prediction was told last.
    """

    learned: int = 0
    means: dict[str, tuple[int, float]] = msgspec.field(default_factory=dict)
    variance: float = 0.0
    errors: list[float] = msgspec.field(default_factory=list)
    level: float = 0.1
    told: dict[str, str] = msgspec.field(default_factory=dict)


class VirtualGroup(msgspec.Struct, array_like=True):
    """Virtual metrology after one recipe and step.

    Attributes:
        variables: whose levels are used.
        last_ms: when it was last used.
        modules: 'equipment/module' that `waiting` refers to.
        models: by parameter.
        waiting: wafer to its module and int8 bytes of its readings, until it is measured.
    """

    variables: list[str]
    last_ms: int
    modules: list[str] = msgspec.field(default_factory=list)
    models: dict[str, VirtualModel] = msgspec.field(default_factory=dict)
    waiting: dict[str, tuple[int, bytes]] = msgspec.field(default_factory=dict)
