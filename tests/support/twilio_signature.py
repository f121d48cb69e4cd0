"""Signatures by Twilio's own package."""

from __future__ import annotations

from twilio.request_validator import RequestValidator


def signed(token: str, url: str, algorithm: str = "HMAC_SHA1") -> str:
    """Return the signature of an address without parameters."""
    return str(RequestValidator(token).compute_signature(url, {}, algorithm))  # pyright: ignore[reportUnknownMemberType] - untyped package
