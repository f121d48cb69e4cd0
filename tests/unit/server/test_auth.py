"""Keys and origins."""

from __future__ import annotations

import pytest

from server.auth import Keyring, check_origin, is_loopback, key_of
from server.errors import Refusal


def status_of(keyring: Keyring, key: str | None, *, loopback: bool) -> int:
    with pytest.raises(Refusal) as refused:
        keyring.tenant_of(key, loopback=loopback)
    return refused.value.status


def test_a_key_tells_the_tenant() -> None:
    keyring = Keyring({"acme": ["one", "two"], "other": ["drei-ü"]})
    assert keyring.tenant_of("two", loopback=False) == "acme"
    assert keyring.tenant_of("drei-ü", loopback=True) == "other"
    assert status_of(keyring, "three", loopback=True) == 401
    assert status_of(keyring, None, loopback=True) == 401
    assert status_of(keyring, "", loopback=True) == 401


def test_without_any_key_only_this_machine_is_served() -> None:
    """A server that was only tried out must not be open to the network."""
    assert Keyring({}).tenant_of(None, loopback=True) == "local"
    assert status_of(Keyring({}), "anything", loopback=False) == 403


@pytest.mark.parametrize(
    ("authorization", "query", "subprotocols", "key"),
    [
        ("Bearer k", {}, [], "k"),
        ("token  k ", {}, [], "k"),
        ("TOKEN k", {"token": "q"}, [], "k"),
        ("Basic k", {"token": "q"}, [], None),
        ("Basic dXNlcjprOjE=", {}, [], "k:1"),
        (None, {"token": "q"}, [], "q"),
        (None, {}, ["trunkline.v1", "s"], "s"),
        (None, {}, ["token", "s", "x-deepgram-session-id", "uuid"], "s"),
        (None, {}, ["bearer", "s"], "s"),
        (None, {}, ["audio.jambonz.org", "s"], None),
        (None, {}, ["token"], None),
        (None, {}, [], None),
    ],
)
def test_a_key_is_found_wherever_it_may_stand(
    authorization: str | None, query: dict[str, str], subprotocols: list[str], key: str | None
) -> None:
    assert key_of(authorization, query, subprotocols) == key


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("", False),
    ],
)
def test_loopback_is_every_address_of_this_machine(address: str, *, expected: bool) -> None:
    assert is_loopback(address) is expected


def test_pages_of_other_sites_are_refused_and_what_is_no_browser_is_not() -> None:
    check_origin(None, "stt.example.com", [])
    check_origin("https://stt.example.com", "stt.example.com", [])
    check_origin("https://app.example.com", "stt.example.com", ["https://app.example.com"])
    check_origin("https://anything.example", "stt.example.com", ["*"])
    for origin, host in (("https://evil.example", "stt.example.com"), ("null", None)):
        with pytest.raises(Refusal):
            check_origin(origin, host, ["https://app.example.com"])
