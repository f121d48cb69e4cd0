"""Tokens by which a call is taken over by another connection, here or at another gateway."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

from server.directory import Place

TOKEN_BYTES: Final = 24
"""Chance in a token: nobody guesses 192 bits."""


def new_token() -> str:
    """Make what who resumes a call must show."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def hash_of(token: str) -> str:
    """Return what is remembered of a token: its SHA-256, in hex."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def may_resume(place: Place, tenant: str, token: str) -> bool:
    """Tell whether a tenant who shows a token may go on with a call."""
    return place.tenant == tenant and hmac.compare_digest(hash_of(token), place.resume_hash)
