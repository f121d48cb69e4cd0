"""The signature of AudioHook's requests."""

from __future__ import annotations

import base64
from typing import Final

import pytest

from server.auth import Keyring
from server.bridges.audiohook_signature import Signatures
from server.errors import Refusal
from server.routes import Caller
from tests.support.audiohook import ORGANIZATION, SESSION, sign

KEY: Final = "SGVsbG8sIEkgYW0gdGhlIEFQSSBrZXkh"
SECRET: Final = base64.b64decode("TXlTdXBlclNlY3JldEtleVRlbGxOby0xITJAMyM0JDU=")
NONCE: Final = "VGhpc0lzQVVuaXF1ZU5vbmNl"
TARGET: Final = "/api/v1/voicebiometrics/ws"
CREATED: Final = 1_641_013_200
HEADERS: Final = {
    "host": "audiohook.example.com",
    "audiohook-organization-id": ORGANIZATION,
    "audiohook-session-id": SESSION,
    "audiohook-correlation-id": "e160e428-53e2-487c-977d-96989bf5c99d",
}
INPUT: Final = (
    'sig1=("@request-target" "@authority" "audiohook-organization-id" "audiohook-session-id" '
    f'"audiohook-correlation-id" "x-api-key");keyid="{KEY}";nonce="{NONCE}";alg="hmac-sha256";'
    f"created={CREATED};expires=3282026430"
)
VECTOR: Final = {
    "X-API-KEY": KEY,
    "Signature-Input": INPUT,
    "Signature": "sig1=:NZBwyBHRRyRoeLqy1IzOa9VYBuI8TgMFt2GRDkDuJh4=:",
}


class Fields(dict[str, str]):
    """Header fields, whose names have no case."""

    def __init__(self, values: dict[str, str]) -> None:
        super().__init__({name.lower(): value for name, value in values.items()})

    def get(self, key: str, default: str | None = None, /) -> str | None:  # type: ignore[override]  # as Headers has it
        return super().get(key.lower(), default)


def caller(headers: dict[str, str], target: str = TARGET) -> Caller:
    return Caller(TARGET, (), Fields(HEADERS | headers), (), {}, False, target)


def signatures(now: float = CREATED + 1.0, secrets: dict[str, bytes] | None = None) -> Signatures:
    return Signatures(Keyring({"acme": [KEY]}), {KEY: SECRET} if secrets is None else secrets, lambda: now)


def test_the_published_vector_is_valid() -> None:
    """Genesys' own example, to the byte."""
    assert signatures().identify(caller(VECTOR)) == "acme"


def test_a_request_that_comes_again_is_refused() -> None:
    """Who listens on the way must not call in our customer's name; long after, the nonce is too old by itself."""
    checked = signatures()
    checked.identify(caller(VECTOR))
    with pytest.raises(Refusal, match="nonce"):
        checked.identify(caller(VECTOR))


@pytest.mark.parametrize(
    ("header", "old", "new"),
    [
        ("Signature", "NZBw", "AAAA"),
        ("Signature", "sig1", "sig2"),
        ("Signature", ":", "?"),
        ("Signature-Input", "sig1=", "sig1"),
        ("Signature-Input", ' "x-api-key"', ""),
        ("Signature-Input", "keyid", "kid"),
        ("Signature-Input", "hmac-sha256", "none"),
        ("Signature-Input", str(CREATED), str(CREATED + 1)),
        ("audiohook-session-id", "30b0", "30b1"),
        ("host", "example", "example2"),
    ],
)
def test_whatever_is_changed_is_noticed(header: str, old: str, new: str) -> None:
    """All of it is covered."""
    headers = HEADERS | VECTOR
    with pytest.raises(Refusal) as refused:
        signatures().identify(caller(headers | {header: headers[header].replace(old, new)}))
    assert (refused.value.status, refused.value.code) == (401, "bad_signature")


def test_another_target_is_noticed_and_a_missing_signature_too() -> None:
    """With a secret set, unsigned requests are not let in."""
    for request in (caller(VECTOR, TARGET + "?x=1"), caller({"X-API-KEY": KEY})):
        with pytest.raises(Refusal, match="not valid"):
            signatures().identify(request)


@pytest.mark.parametrize(("now", "valid"), [(-4.0, False), (-2.0, True), (12.0, True), (14.0, False)])
def test_a_signature_counts_for_seconds_only(now: float, valid: bool) -> None:
    """Clocks may differ by three."""
    request = caller(sign(HEADERS, TARGET, key=KEY, secret=SECRET, created=CREATED, nonce=NONCE))
    checked = signatures(CREATED + now)
    if valid:
        assert checked.identify(request) == "acme"
        return
    with pytest.raises(Refusal, match="just now"):
        checked.identify(request)


@pytest.mark.parametrize(
    ("created", "nonce", "lasts_s", "why"), [(CREATED, NONCE[:10], 10, "nonce"), (CREATED - 12, NONCE, 1, "expired")]
)
def test_one_that_has_expired_or_whose_nonce_is_short_is_refused(
    created: int, nonce: str, lasts_s: int, why: str
) -> None:
    """The signer sets the first limit, we the second."""
    signed = sign(HEADERS, TARGET, key=KEY, secret=SECRET, created=created, nonce=nonce, lasts_s=lasts_s)
    with pytest.raises(Refusal, match=why):
        signatures(CREATED).identify(caller(signed))


def test_a_key_without_a_secret_needs_no_signature_and_an_unknown_key_is_refused() -> None:
    """Genesys signs only where a client secret is configured; the address may hold the key, too."""
    assert signatures(secrets={}).identify(caller({"X-API-KEY": KEY})) == "acme"
    placed = Caller(TARGET, (), Fields(HEADERS), (), {"key": KEY}, False, TARGET)
    assert signatures(secrets={}).identify(placed) == "acme"
    with pytest.raises(Refusal, match="API key"):
        signatures().identify(caller({"X-API-KEY": "other"}))
