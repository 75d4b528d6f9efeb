"""`fabpilot automation`: the one switch over all automatic actions of a site."""

from enum import StrEnum
from typing import Annotated

import typer

from contracts.clock import SystemClock
from contracts.codec import encode
from contracts.errors import ConfigError
from contracts.events import AutomationSwitch
from contracts.ids import derived_id
from fabpilot.commands.options import JsonOption, SiteOption
from fabpilot.output import report
from fabpilot.settings import load_settings
from fabpilot.stopping import stop_event
from fabpilot.wiring import open_site_log

__all__ = ["register"]


class _Position(StrEnum):
    ON = "on"
    OFF = "off"


def automation(
    position: Annotated[_Position, typer.Argument(help="'off' is the kill switch.")],
    by: Annotated[str, typer.Option("--by", help="Who makes the switch.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept with the event.")],
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Allow or forbid a site's policy to approve actions by itself.

    'off' takes effect at the controller's next read, before anything else that waits there: the
    policy approves nothing more, semi-automatic approvals under way are cancelled, and actions are
    still proposed to people. It stays off across restarts until somebody switches it on.

    For example:

      fabpilot automation off --by kim --reason "maintenance stopped the wrong tool"

      fabpilot automation on --by kim --reason "policy corrected" --site kr1 --json
    """
    if not by.strip() or not reason.strip():
        raise ConfigError("say who switches and why: --by NAME --reason TEXT")
    settings = load_settings()
    site = site or settings.site
    now_ms = SystemClock().now_ms()
    event = AutomationSwitch(
        event_id=derived_id("automation", site, position.value, by, now_ms),
        site=site,
        time_ms=now_ms,
        automatic=position is _Position.ON,
        by=by.strip(),
        reason=reason.strip(),
    )
    log = open_site_log(settings, site, stop_event(), wait=False)
    try:
        log.append([encode(event)])
    finally:
        log.close()
    report(event, as_json=as_json, title=f"automation {position.value}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("automation")(automation)
