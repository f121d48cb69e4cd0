"""What all bridges' dialects share."""

from __future__ import annotations

import pytest

from server.auth import Keyring
from server.bridge import (
    CLOSE_REASON_BYTES,
    MAX_FACT,
    MAX_METADATA,
    BridgeDialect,
    bridge_routes,
    call_spec,
    close_reason,
    digit_of,
    id_of,
    scalars,
)
from server.dialect import Close
from streaming.call import AudioFormat, CallSpec, Encoding
from streaming.errors import BadMessage
from tests.support.bridges import Line, upgrade

AUDIO = AudioFormat(Encoding.MULAW, 8000, 2)


def spec(given: dict[str, str], **query: str) -> CallSpec:
    return call_spec(
        upgrade(**query), AUDIO, ("a", "b"), call="own/1", given=given, ids={"x.id": "own/1", "x.no": None}
    )


def test_wishes_come_from_the_address_and_the_bridge_and_the_bridge_wins() -> None:
    """What is known about one call is nearer than what was configured for all."""
    made = spec({"language": "de-DE", "labels": "customer,agent"}, language="en", model="base", token="secret")  # noqa: S106 - made up
    assert (made.language, made.model, made.labels, made.call) == ("de", "base", ("customer", "agent"), "own_1")
    assert made.metadata == {"x.id": "own/1"}
    times = spec({}, endpoint_ms="300", utterance_end_ms="1000", call="mine", labels="one")
    assert (times.endpoint_ms, times.utterance_end_ms, times.call, times.labels) == (300, 1000, "mine", ("a", "b"))


@pytest.mark.parametrize("wish", [{"call": "a b"}, {"language": "?"}, {"endpoint_ms": "soon"}, {"endpoint_ms": "-1"}])
def test_a_wish_that_cannot_be_is_refused(wish: dict[str, str]) -> None:
    """Quietly to do something else would be found out late."""
    with pytest.raises(BadMessage):
        spec(wish)


def test_metadata_is_bounded_and_can_be_written() -> None:
    """It lies in the log with every call; half a surrogate pair is no text."""
    made = spec({f"name {number}": "v" * 1000 for number in range(100)} | {"\ud800": "\ud800"})
    assert len(made.metadata) == MAX_METADATA
    assert max(map(len, made.metadata.values())) == MAX_FACT
    assert spec({"\ud800": "\ud800"}).metadata["?"] == "?"


def test_the_small_readers() -> None:
    """Each takes whatever a peer may send."""
    assert [digit_of(value) for value in ("5", 5, "a", "#", "*", "12", "", None, True, "E")] == [
        "5", "5", "A", "#", "*", None, None, None, None, None,
    ]  # fmt: skip
    assert (id_of("a/b c"), id_of(""), id_of(None)) == ("a_b_c", None, None)
    assert scalars({"a": 1, "b": "x", "c": 1.5, "d": None, "e": [], "f": {}}) == {"a": "1", "b": "x", "c": "1.5"}
    assert len(close_reason("ä" * 200).encode()) <= CLOSE_REASON_BYTES


class Silent(BridgeDialect):
    """A bridge that listens to nothing."""

    name = "silent"


def test_a_protocol_of_text_frames_takes_no_others_and_may_ignore_all() -> None:
    """The defaults of a dialect that overrides nothing."""
    assert Line(Silent(upgrade())).say("{}").close is None
    for frame in (b"\x00", "[]"):
        close = Line(Silent(upgrade())).say(frame).close
        assert isinstance(close, Close)
        assert close.code == 1008


def test_every_bridge_has_an_address_with_and_one_without_a_key() -> None:
    """For bridges that can be given an address and nothing else."""
    patterns = [route.pattern for route in bridge_routes("x", Keyring({}), Silent, 300.0)]
    assert patterns == ["/bridges/x", "/bridges/x/{key}"]


@pytest.mark.parametrize(
    "wishes", [{"channel": "2", "of": "2"}, {"channel": "0", "of": "21"}, {"channel": "x", "of": "2"}]
)
def test_a_side_that_its_call_cannot_have_is_refused(wishes: dict[str, str]) -> None:
    """A side taken for another one would put words into the wrong mouth."""
    with pytest.raises(BadMessage, match="'channel' must be"):
        call_spec(upgrade(), AudioFormat(Encoding.MULAW, 8000), ("x",), call=None, given=wishes | {"call": "c"}, ids={})


def test_a_side_needs_the_calls_id_and_a_single_track() -> None:
    """Without an id every side would be a call; two tracks in one side have no place."""
    wishes = {"channel": "0", "of": "2"}
    with pytest.raises(BadMessage, match="need 'call'"):
        call_spec(upgrade(), AudioFormat(Encoding.MULAW, 8000), ("x",), call="own", given=wishes, ids={})
    with pytest.raises(BadMessage, match="of one channel"):
        call_spec(upgrade(), AudioFormat(Encoding.MULAW, 8000, 2), ("x", "y"), call="own", given=wishes, ids={})
