"""For administrators: accounts and tokens, and the audit trail as a whole.

Accounts and tokens are made on the server (`fabpilot accounts`), so that no password and no secret
of a program ever passes a browser of somebody else's.
"""

import dataclasses
from collections.abc import Iterator

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Row
from starlette.responses import Response, StreamingResponse

from console.access import accounts, tokens
from console.access.export import as_csv, as_lines
from console.access.identity import By
from console.access.roles import Role
from console.access.trail import entries, verify
from console.api.alerts import Comment
from console.decisions import MissingError
from console.services import Services, Using

__all__ = ["AccountView", "TokenView", "account_views", "router", "token_views"]

router = APIRouter(prefix="/api/v1", tags=["accounts and audit"])


class AccountView(BaseModel):
    """An account."""

    name: str
    role: Role
    local: bool = Field(description="signs in with a password, not with the identity provider")
    disabled: bool
    created_ms: int


class TokenView(BaseModel):
    """A token without its secret."""

    token_id: str
    account: str
    purpose: str
    scopes: list[str]
    created_ms: int
    expires_ms: int
    revoked: bool


class AccountChange(BaseModel):
    """What to change about an account."""

    model_config = ConfigDict(extra="forbid")

    role: Role | None = None
    disabled: bool | None = None
    by: By = Field(default="", validate_default=True, description="who decides")
    comment: Comment = ""


class Revocation(BaseModel):
    """Who ends a token."""

    model_config = ConfigDict(extra="forbid")

    by: By = Field(default="", validate_default=True, description="who decides")


class VerdictView(BaseModel):
    """Whether the audit trail is intact."""

    intact: bool
    rows: int
    before_chain: int
    head: str
    fault: str


def account_views(services: Services) -> list[AccountView]:
    """All accounts by name."""
    with services.read() as connection:
        found = accounts.listed(connection)
    return [AccountView(**dataclasses.asdict(one)) for one in found]


def token_views(services: Services) -> list[TokenView]:
    """All tokens, the latest first."""
    with services.read() as connection:
        found = tokens.listed(connection)
    return [TokenView(**dataclasses.asdict(one)) for one in found]


@router.get("/accounts")
def list_accounts(services: Using) -> list[AccountView]:
    """All accounts by name."""
    return account_views(services)


@router.post("/accounts/{name}")
def change_account(services: Using, name: str, change: AccountChange) -> AccountView:
    """Give an account another role, close it, or open it again. 409 for the last administrator."""
    now_ms = services.now_ms()
    with services.deps.engine.begin() as connection:
        if change.role is not None:
            accounts.change_role(connection, name, change.role, by=change.by, now_ms=now_ms)
        if change.disabled is not None:
            accounts.disable(
                connection,
                name,
                disabled=change.disabled,
                by=change.by,
                now_ms=now_ms,
                why=change.comment,
            )
        found = accounts.find(connection, name)
    services.keeper.forget_all()
    if found is None:
        raise MissingError(f"there is no account {name!r}")
    return AccountView(**dataclasses.asdict(found))


@router.get("/tokens")
def list_tokens(services: Using) -> list[TokenView]:
    """All tokens, the latest first."""
    return token_views(services)


@router.post("/tokens/{token_id}/revoke", status_code=204)
def revoke_token(services: Using, token_id: str, revocation: Revocation) -> Response:
    """End a token for good."""
    with services.deps.engine.begin() as connection:
        tokens.revoke(connection, token_id, by=revocation.by, now_ms=services.now_ms())
    services.keeper.forget_all()
    return Response(status_code=204)


@router.get("/audit/verify")
def verify_audit(services: Using, expect: str = "") -> VerdictView:
    """Whether the chain of digests holds, from the first row to the last."""
    with services.read() as connection:
        verdict = verify(connection, expect)
    return VerdictView(intact=not verdict.fault, **dataclasses.asdict(verdict))


@router.get("/audit/export.csv", responses={200: {"content": {"text/csv": {}}}})
def audit_csv(services: Using) -> Response:
    """The whole trail with its digests, the oldest row first."""
    return _file("csv", as_csv(_rows(services)))


@router.get("/audit/export.jsonl", responses={200: {"content": {"application/jsonl": {}}}})
def audit_lines(services: Using) -> Response:
    """The whole trail with its digests as JSON lines, the oldest row first."""
    return _file("jsonl", as_lines(_rows(services)))


def _rows(services: Services) -> Iterator[Row[object]]:
    with services.read() as connection:
        yield from entries(connection)


def _file(kind: str, parts: Iterator[str]) -> Response:
    return StreamingResponse(
        parts,
        media_type="text/csv; charset=utf-8" if kind == "csv" else "application/jsonl",
        headers={"content-disposition": f'attachment; filename="fabpilot-audit.{kind}"'},
    )
