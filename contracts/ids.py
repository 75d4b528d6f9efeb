"""Ids that come from content, so that doing a thing twice names it once."""

import hashlib
import re

from contracts.errors import ConfigError

__all__ = ["check_group", "check_site", "derived_id", "span_id", "trace_id", "traceparent"]

_GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SITE = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
# Joins the parts of an id; cannot occur in them unnoticed because each part's length goes in too.
_SEPARATOR = b"\x1f"


def derived_id(*parts: str | int) -> str:
    """A 32-digit hexadecimal id that depends on `parts` alone.

    >>> derived_id("prediction", "a", 1) == derived_id("prediction", "a", 1)
    True
    >>> derived_id("ab", "c") == derived_id("a", "bc")
    False
    """
    digest = hashlib.sha256()
    for part in parts:
        raw = str(part).encode()
        digest.update(str(len(raw)).encode() + _SEPARATOR + raw)
    return digest.hexdigest()[:32]


def check_site(site: str) -> str:
    """Return `site` if it may name a site (it becomes part of topic names).

    Raises:
        ConfigError: it has other characters than a-z, 0-9 and '-', or more than 32 of them.
    """
    if not _SITE.fullmatch(site):
        raise ConfigError(
            f"site {site!r} is not a site name: use a-z, 0-9 and '-', at most 32 characters,"
            " for example 'kr1'"
        )
    return site


def check_group(group: str) -> str:
    """Return `group` if it may name a consumer group (it becomes part of file names).

    Raises:
        ConfigError: it has other characters than letters, digits, '.', '_' and '-', or more than
            100 of them.
    """
    if not _GROUP.fullmatch(group):
        raise ConfigError(
            f"group {group!r} is not a group name: use letters, digits, '.', '_' and '-', at most"
            " 100 characters"
        )
    return group


def trace_id(root: str) -> str:
    """The W3C trace id of everything about `root` (a wafer), for log lines to share."""
    return derived_id("trace", root)


def span_id(*parts: str) -> str:
    """The W3C span id of what made the event with this id, or of what else `parts` name."""
    return derived_id("span", *parts)[:16]


def traceparent(root: str, event_id: str) -> str:
    """A W3C traceparent whose trace id is the same for every event about `root` (a wafer).

    https://www.w3.org/TR/trace-context/#traceparent-header
    """
    return f"00-{trace_id(root)}-{span_id(event_id)}-01"
