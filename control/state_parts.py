"""The saved state in parts, so that a change costs what changed and not all there is.

Written whole with every batch, the state of a large line would be nearly two megabytes for a single
trace. As parts it is a head with everything that is small, a part for every 25 wafers, for every
group of charts and every alert, and blocks of remembered ids; a batch writes those it touched. All
parts together are the state: `join` of what was written last under each name gives it again.
"""

import struct
import zlib
from collections.abc import Collection, Mapping, Sequence

import msgspec

from contracts.errors import DataError
from control.foresight_state import VirtualGroup
from control.state import AlertRecord, ControlState, GroupRecord, WaferRecord, load_state

__all__ = ["BLOCK", "Changes", "Parts", "join"]

# Wafers of a part: they entered one after another, so those of a lot are together.
WAFERS = 25
# Remembered ids of a part, 8 bytes each. All together they are a ring.
BLOCK = 256

Changes = dict[str, bytes | None]
"""Parts to be written, by name; None for one that is gone."""


class _Head(msgspec.Struct):
    """What is small.

    Attributes:
        state: without what is in other parts.
        groups: keys of the groups, in order; `alerts` and `virtual` the same of theirs.
        heard: ids heard so far, which tells where the ring begins.
        ids: how many of them are remembered.
    """

    state: msgspec.Raw
    groups: list[str]
    alerts: list[str]
    virtual: list[str]
    heard: int
    ids: int


_encode = msgspec.msgpack.Encoder().encode
_decode_head = msgspec.msgpack.Decoder(_Head).decode
_decode_wafers = msgspec.msgpack.Decoder(list[tuple[str, WaferRecord]]).decode
_decode_group = msgspec.msgpack.Decoder(GroupRecord).decode
_decode_virtual = msgspec.msgpack.Decoder(VirtualGroup).decode
_decode_alert = msgspec.msgpack.Decoder(AlertRecord).decode


class Parts:
    """Remembers which wafers are in which part, to tell what has to be written.

    Args:
        ring: ids that are remembered at most; a multiple of `BLOCK`.
    """

    def __init__(self, ring: int) -> None:
        self._ring = ring
        self._heard = 0
        self._part_of: dict[str, int] = {}
        self._names: dict[int, list[str]] = {}
        self._last = 0
        self._alerts: dict[str, bytes] = {}

    def changes(
        self,
        state: ControlState,
        *,
        wafers: Collection[str],
        gone: Collection[str],
        groups: Collection[str],
        virtual: Collection[str],
        heard: int,
    ) -> Changes:
        """What is to be written now.

        Args:
            state: complete, with `recent_ids` and `groups` up to date.
            wafers: that changed since the last call; new ones are found without it.
            gone: wafers that were forgotten since then, even if they came again.
            groups: keys of charts that changed, came or went.
            virtual: the same of virtual metrology.
            heard: ids heard so far, of which `state.recent_ids` are the latest.
        """
        out: Changes = {}
        self._put_wafers(state, wafers, gone, out)
        for key in groups:
            record = state.groups.get(key)
            out[f"groups/{key}"] = None if record is None else _encode(record)
        for key in virtual:
            learned = state.virtual.get(key)
            out[f"virtual/{key}"] = None if learned is None else _encode(learned)
        self._put_alerts(state, out)
        self._put_ids(state.recent_ids, heard, out)
        small = msgspec.structs.replace(
            state, wafers={}, groups={}, alerts={}, virtual={}, recent_ids=[]
        )
        head = _Head(
            msgspec.Raw(_encode(small)),
            list(state.groups),
            list(state.alerts),
            list(state.virtual),
            heard,
            len(state.recent_ids),
        )
        out["head"] = _encode(head)
        return out

    def _put_wafers(
        self, state: ControlState, wafers: Collection[str], gone: Collection[str], out: Changes
    ) -> None:
        changed: set[int] = set()
        for name in gone:
            part = self._part_of.pop(name, None)
            if part is not None:
                self._names[part].remove(name)
                changed.add(part)
        changed.update(self._part_of[name] for name in wafers if name in self._part_of)
        new = []
        for name in reversed(state.wafers):
            if name in self._part_of:
                break
            new.append(name)
        for name in reversed(new):
            if len(self._names.get(self._last, ())) >= WAFERS:
                self._last += 1
            self._names.setdefault(self._last, []).append(name)
            self._part_of[name] = self._last
            changed.add(self._last)
        for part in sorted(changed):
            names = self._names[part]
            # Wafers of a lot are alike: the lightest compression makes a quarter of them.
            data = zlib.compress(_encode([(name, state.wafers[name]) for name in names]), 1)
            out[f"wafers/{part:012d}"] = data if names else None
            if not names and part < self._last:
                del self._names[part]

    def _put_alerts(self, state: ControlState, out: Changes) -> None:
        for key in self._alerts.keys() - state.alerts.keys():
            del self._alerts[key]
            out[f"alerts/{key}"] = None
        for key, alert in state.alerts.items():
            data = _encode(alert)
            if self._alerts.get(key) != data:
                self._alerts[key] = out[f"alerts/{key}"] = data

    def _put_ids(self, ids: Sequence[int], heard: int, out: Changes) -> None:
        oldest = heard - len(ids)
        fresh = range(max(self._heard, oldest), heard)
        for block in sorted({number % self._ring // BLOCK for number in fresh}):
            slots = [0] * BLOCK
            for place in range(BLOCK):
                # The latest number that falls on this slot.
                number = heard - 1 - (heard - 1 - (block * BLOCK + place)) % self._ring
                if number >= oldest:
                    slots[place] = ids[number - oldest]
            out[f"ids/{block:03d}"] = struct.pack(f"<{BLOCK}Q", *slots)
        self._heard = heard

    def _restore(self, state: ControlState, wafers: Mapping[int, list[str]], heard: int) -> None:
        self._names = dict(wafers)
        self._part_of = {name: part for part, names in wafers.items() for name in names}
        self._last = max(wafers, default=0)
        self._alerts = {key: _encode(alert) for key, alert in state.alerts.items()}
        self._heard = heard


def join(parts: Mapping[str, bytes], site: str, ring: int) -> tuple[ControlState, Parts, int]:
    """The state from all its parts.

    Args:
        parts: what was written last under each name.
        site: whose it is.
        ring: as for `Parts`.

    Returns:
        The state, what tells its further changes, and how many ids were heard.

    Raises:
        DataError: a part is missing or damaged, or the state is not this site's.
    """
    try:
        head = _decode_head(parts["head"])
        state = load_state(bytes(head.state), site)
        state.groups = {key: _decode_group(parts[f"groups/{key}"]) for key in head.groups}
        state.alerts = {key: _decode_alert(parts[f"alerts/{key}"]) for key in head.alerts}
        state.virtual = {key: _decode_virtual(parts[f"virtual/{key}"]) for key in head.virtual}
        names: dict[int, list[str]] = {}
        for part in sorted(name for name in parts if name.startswith("wafers/")):
            held = _decode_wafers(zlib.decompress(parts[part]))
            state.wafers.update(held)
            names[int(part.partition("/")[2])] = [name for name, _ in held]
        slots: list[int] = []
        for block in range(ring // BLOCK):
            data = parts.get(f"ids/{block:03d}")
            slots += struct.unpack(f"<{BLOCK}Q", data) if data is not None else (0,) * BLOCK
        state.recent_ids = [
            slots[number % ring] for number in range(head.heard - head.ids, head.heard)
        ]
    except (
        msgspec.DecodeError,
        UnicodeDecodeError,
        RecursionError,
        KeyError,
        ValueError,
        struct.error,
        zlib.error,
    ) as error:
        raise DataError(
            f"the saved state of the controller of {site!r} is incomplete or damaged ({error!r}):"
            " restore the database's backup, or start the controller with an empty state"
        ) from error
    known = Parts(ring)
    known._restore(state, names, head.heard)
    return state, known, head.heard
