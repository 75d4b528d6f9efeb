"""Secrets that are handed out once and kept as hashes.

They are 256 random bits, so that a plain digest keeps them: only what people choose needs argon2.
"""

import hashlib
import hmac
import secrets

__all__ = ["csrf_of", "digest_of", "new_secret", "same"]


def new_secret() -> str:
    """256 random bits for an address or a header."""
    return secrets.token_urlsafe(32)


def digest_of(secret: str) -> str:
    """How it is kept."""
    return hashlib.sha256(secret.encode()).hexdigest()


def csrf_of(secret: str) -> str:
    """What pages of a session carry and send back.

    It follows from the cookie, which scripts and foreign pages cannot read; the cookie does not
    follow from it.
    """
    return hmac.new(secret.encode(), b"csrf", hashlib.sha256).hexdigest()


def same(one: str, other: str) -> bool:
    """Compared in a time that says nothing about where they differ."""
    return hmac.compare_digest(one.encode(), other.encode())
