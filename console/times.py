"""Times as people at a site read them: in the site's zone, with its offset."""

from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from contracts.errors import ConfigError

__all__ = ["LATEST_MS", "clock_time", "full_time", "zone_of"]

LATEST_MS = 7_258_118_400_000
"""The year 2200. A time beyond it is no time of a fab, and soon beyond what a calendar holds."""


@lru_cache(maxsize=64)
def zone_of(name: str) -> tzinfo:
    """The time zone called `name`.

    Raises:
        ConfigError: this machine knows no such zone.
    """
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ConfigError(
            f"no time zone {name!r} on this machine: use an IANA name such as 'Asia/Seoul',"
            " or install the package tzdata"
        ) from error


def _moment(time_ms: int, zone: str) -> datetime:
    return datetime.fromtimestamp(min(max(time_ms, 0), LATEST_MS) / 1000, tz=zone_of(zone))


def clock_time(time_ms: int, zone: str) -> str:
    """Hours and minutes.

    >>> clock_time(0, "UTC")
    '00:00'
    """
    return _moment(time_ms, zone).strftime("%H:%M")


def full_time(time_ms: int, zone: str) -> str:
    """Date, time to the second, and offset.

    >>> full_time(0, "Asia/Seoul")
    '1970-01-01 09:00:00 +09:00'
    """
    moment = _moment(time_ms, zone)
    offset = moment.strftime("%z")
    return moment.strftime("%Y-%m-%d %H:%M:%S ") + f"{offset[:3]}:{offset[3:]}"
