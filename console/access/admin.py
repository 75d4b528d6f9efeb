"""The page for administrators: accounts, tokens and the whole audit trail."""

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from console.access.roles import Role
from console.access.trail import verify
from console.api.accounts import account_views, token_views
from console.api.alerts import Offset
from console.queries import overview
from console.rendering import render
from console.services import Speaks, Using

__all__ = ["router"]

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

_ROWS_A_PAGE = 50
# A tenth of a second; a longer trail is checked when somebody asks for it.
_VERIFIED_HERE = 10_000


@router.get("/accounts")
def account_list(
    request: Request, services: Using, strings: Speaks, offset: Offset = 0
) -> Response:
    """Who may do what, and who did what?"""
    with services.read() as connection:
        audit = overview.audit_trail(connection, _ROWS_A_PAGE, offset)
        return render(
            request,
            services,
            connection,
            strings,
            "accounts.html",
            page="accounts",
            title=strings("page.accounts"),
            accounts=account_views(services),
            tokens=token_views(services),
            roles=[role.value for role in Role],
            audit=audit,
            verdict=verify(connection) if audit.total <= _VERIFIED_HERE else None,
        )
