"""OpenID Connect: the code flow with PKCE, through Authlib.

What an answer of the provider must match (state, nonce, code verifier) is kept in a cookie of the
browser that set out, so that nothing is kept here for people who never come back (`trip`).
"""

import time
from typing import Any
from urllib.parse import urlsplit

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from console.access.policy import OidcSettings
from console.access.roles import Role
from console.access.trip import Person, Trip
from contracts.errors import ConfigError, DataError, FabpilotError

__all__ = ["Provider", "ProviderError"]

_TIMEOUT_S = 5.0
# Keys and addresses change rarely; a key that is not known yet is asked for at once.
_KEPT_S = 3600.0
# A provider may ask for HMAC or none; only signatures that a public key verifies are taken.
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]
_LEEWAY_S = 60
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_RANK = (Role.ADMIN, Role.OPERATOR, Role.ENGINEER, Role.VIEWER)


class ProviderError(FabpilotError):
    """The identity provider does not answer, or not as it should."""


class Provider:
    """The identity provider; nothing is connected before somebody signs in.

    Args:
        settings: who it is, and who we are to it.

    Raises:
        ConfigError: its address is neither https nor loopback.
    """

    def __init__(self, settings: OidcSettings) -> None:
        parts = urlsplit(settings.issuer)
        if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
            raise ConfigError(
                f"FABPILOT_OIDC_ISSUER: {settings.issuer!r} must be an https address, since it says"
                " who people are"
            )
        self._settings = settings
        self._known: dict[str, Any] = {}
        self._keys: KeySet | None = None
        self._until = 0.0

    def start(self, trip: Trip, callback: str) -> str:
        """Where to send the browser.

        Raises:
            ProviderError: the provider does not answer.
        """
        with self._session(callback) as session:
            url, _ = session.create_authorization_url(
                self._discovered()["authorization_endpoint"],
                state=trip.state,
                nonce=trip.nonce,
                code_verifier=trip.verifier,
            )
        return str(url)

    def finish(self, trip: Trip, code: str, callback: str) -> Person:
        """Who came back with this code.

        Raises:
            ProviderError: the provider does not answer, or refuses the code.
            DataError: what it signed is not about this login, or names no role here.
        """
        try:
            with self._session(callback) as session:
                answer = session.fetch_token(
                    self._discovered()["token_endpoint"],
                    code=code,
                    code_verifier=trip.verifier,
                    timeout=_TIMEOUT_S,
                )
        except (AuthlibBaseError, requests.RequestException, ValueError) as error:
            raise ProviderError(f"the identity provider refused the code: {error}") from error
        claims = self._claims(str(answer.get("id_token", "")), trip)
        name = str(claims.get("preferred_username") or claims.get("email") or claims["sub"])
        return Person(f"{claims['iss']}|{claims['sub']}", name, self._role(claims))

    def _session(self, callback: str) -> OAuth2Session:
        settings = self._settings
        return OAuth2Session(
            settings.client_id,
            settings.client_secret or None,
            scope="openid profile email",
            redirect_uri=callback,
            code_challenge_method="S256",
            token_endpoint_auth_method="client_secret_basic" if settings.client_secret else "none",
        )

    def _claims(self, token: str, trip: Trip) -> dict[str, Any]:
        expected = {
            "iss": {"essential": True, "value": self._settings.issuer},
            "aud": {"essential": True, "value": self._settings.client_id},
        }
        try:
            decoded = self._decoded(token)
            claims = CodeIDToken(
                decoded.claims,
                decoded.header,
                expected,
                {"nonce": trip.nonce, "client_id": self._settings.client_id},
            )
            claims.validate(leeway=_LEEWAY_S)
            if claims.get("nonce") != trip.nonce:
                raise DataError("the identity provider's token is about another login")
        except (JoseError, AuthlibBaseError, ValueError) as error:
            raise DataError(f"the identity provider's token does not hold: {error}") from error
        return dict(claims)

    def _decoded(self, token: str) -> jwt.Token:
        """The token if one of the provider's keys signed it; a new key is fetched once."""
        for again in (False, True):
            try:
                return jwt.decode(token, self._key_set(again), algorithms=_ALGORITHMS)
            except (JoseError, ValueError):
                if again:
                    raise
        raise AssertionError("unreachable")

    def _role(self, claims: dict[str, Any]) -> Role:
        """The first of the known roles that the claim names, with or without 'fabpilot-'."""
        said = claims.get(self._settings.role_claim)
        names = {said} if isinstance(said, str) else set(said if isinstance(said, list) else ())
        for role in _RANK:
            if role.value in names or f"fabpilot-{role.value}" in names:
                return role
        raise DataError(
            f"this account has no role here: its claim {self._settings.role_claim!r} names none of"
            f" {', '.join(role.value for role in _RANK)}"
        )

    def _discovered(self) -> dict[str, Any]:
        if time.monotonic() >= self._until:
            issuer = self._settings.issuer
            found = _get(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
            wanted = ("authorization_endpoint", "token_endpoint", "jwks_uri")
            if found.get("issuer") != issuer or not all(found.get(name) for name in wanted):
                raise ProviderError(
                    f"{issuer} describes itself as {found.get('issuer')!r}: FABPILOT_OIDC_ISSUER"
                    " must be exactly that"
                )
            self._known, self._keys = found, None
            self._until = time.monotonic() + _KEPT_S
        return self._known

    def _key_set(self, again: bool) -> KeySet:
        if self._keys is None or again:
            found = _get(self._discovered()["jwks_uri"])
            self._keys = KeySet.import_key_set(found)  # type: ignore[arg-type]
        return self._keys


def _get(url: str) -> dict[str, Any]:
    try:
        answer = requests.get(url, timeout=_TIMEOUT_S, allow_redirects=False)
        answer.raise_for_status()
        found = answer.json()
    except (requests.RequestException, ValueError) as error:
        raise ProviderError(f"the identity provider does not answer at {url}: {error}") from error
    if not isinstance(found, dict):
        raise ProviderError(f"the identity provider says nothing of use at {url}")
    return found
