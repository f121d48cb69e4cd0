"""What is too much in one place goes where there is room, a little at a time, and nothing goes to and fro."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.policy.load import P95_WINDOW_S
from scaler.policy.mover import BETWEEN_DEVICES, BETWEEN_SHARDS, REST_S, Item, Move, Mover, Place
from tests.support.dice import thrown


def place(
    name: str,
    utilisation: float,
    items: int = 10,
    *,
    hot: bool = False,
    takes: bool = True,
    leaving: bool = False,
    costs: Sequence[float] = (),
) -> Place[str]:
    """A place whose items share its utilisation evenly."""
    each = utilisation / max(items, 1)
    held = tuple(Item(f"{name}{n}", each, costs[n] if costs else 0.0) for n in range(items))
    return Place(name=name, utilisation=utilisation, items=held, hot=hot, takes=takes, leaving=leaving)


def test_what_a_full_place_has_too_much_goes_to_the_emptiest() -> None:
    moves = Mover[str](BETWEEN_SHARDS).tick([place("a", 0.9), place("b", 0.6), place("c", 0.5)], 0.0)

    assert moves == [Move("a0", "a", "c", "a is asked for 90% of what it can do, c for 50%")]


def test_places_alike_keep_what_they_have() -> None:
    assert Mover[str](BETWEEN_SHARDS).tick([place("a", 0.95), place("b", 0.85), place("c", 0.9)], 0.0) == []


def test_where_there_is_no_other_place_nothing_moves() -> None:
    assert Mover[str](BETWEEN_SHARDS).tick([place("a", 2.0), place("b", 0.0, takes=False)], 0.0) == []


def test_a_place_below_its_best_rung_gives_before_it_is_full() -> None:
    """Its utilisation is counted at the best rung; if that is wrong, the rung tells."""
    places = [place("a", 0.7, hot=True), place("b", 0.5)]

    assert [move.target for move in Mover[str](BETWEEN_SHARDS).tick(places, 0.0)] == ["b"]


def test_a_place_with_little_to_do_is_given_something() -> None:
    """What is warm and idle costs as much as what works."""
    moves = Mover[str](BETWEEN_SHARDS).tick([place("a", 0.6), place("new", 0.0, items=0)], 0.0)

    assert moves == [Move("a0", "a", "new", "new has little to do: 0% against 60%")]


def test_one_call_alone_is_not_carried_between_two_idle_places() -> None:
    places = [place("a", 0.5, items=1), place("b", 0.0, items=0)]

    assert Mover[str](BETWEEN_SHARDS).tick(places, 0.0) == []


def test_what_is_too_large_stays_and_what_fits_goes() -> None:
    held = (Item("large", 0.5, 0.0), Item("small", 0.1, 1.0))
    full = Place(name="a", utilisation=0.95, items=held * 1, leaving=False)
    many = Place(name="a", utilisation=0.95, items=held + tuple(Item(f"x{n}", 0.0, 2.0) for n in range(30)))

    assert Mover[str](BETWEEN_SHARDS).tick([full, place("b", 0.5)], 0.0) == []  # one look takes the cheapest only
    assert [move.item for move in Mover[str](BETWEEN_SHARDS).tick([many, place("b", 0.5)], 0.0)] == ["small"]


def test_the_cheapest_go_first() -> None:
    """A call that has just had its final is replayed from there: next to nothing."""
    moves = Mover[str](BETWEEN_SHARDS).tick([place("a", 0.9, 3, costs=(5.0, 0.1, 2.0)), place("b", 0.1)], 0.0)

    assert [move.item for move in moves] == ["a1"]


def test_after_a_move_the_place_waits_until_its_effect_is_seen() -> None:
    mover = Mover[str](BETWEEN_SHARDS)
    places = [place("a", 0.95), place("b", 0.4)]
    assert mover.tick(places, 0.0)

    assert mover.tick(places, P95_WINDOW_S - 1) == []
    assert mover.tick(places, P95_WINDOW_S)


def test_what_is_on_its_way_counts_where_it_goes() -> None:
    """Two full places must not both fill the one that both see empty."""
    places = [place("a", 0.9, 4), place("b", 0.9, 4), place("c", 0.45)]

    moves = Mover[str](BETWEEN_SHARDS).tick(places, 0.0)

    assert [move.origin for move in moves] == ["a"]  # with b's, c would be as full


def test_a_place_that_closes_gives_all_it_has() -> None:
    """Devices at once, for nobody notices; shards in five ticks."""
    places = [place("a", 0.5, leaving=True), place("b", 0.95), place("c", 0.99, leaving=True)]

    assert len(Mover[str](BETWEEN_DEVICES).tick(places[:2], 0.0)) == 10
    moves = Mover[str](BETWEEN_SHARDS).tick(places, 0.0)
    assert [(move.origin, move.target) for move in moves] == [("c", "b")] * 2 + [("a", "b")] * 2
    assert moves[0].reason == "c is closing"


def test_nothing_moves_twice_within_half_a_minute_unless_its_place_closes() -> None:
    mover = Mover[str](BETWEEN_SHARDS)
    one = Item("call", 0.3)
    full = Place(name="a", utilisation=0.95, items=(one, Item("other", 0.65, 9.0)))
    assert [move.item for move in mover.tick([full, place("b", 0.0, 0)], 0.0)] == ["call"]

    fuller = Place(name="b", utilisation=0.95, items=(one,))
    assert mover.tick([fuller, place("a", 0.3, 0)], REST_S - 1) == []
    closing = Place(name="b", utilisation=0.95, items=(one,), leaving=True)
    assert mover.tick([closing, place("a", 0.3, 0)], REST_S - 1)


def test_calls_that_are_over_are_forgotten() -> None:
    mover = Mover[str](BETWEEN_SHARDS)
    assert mover.tick([place("a", 0.9), place("b", 0.0, 0)], 0.0)
    assert mover.tick([place("c", 0.1), place("b", 0.0, 0)], 1.0) == []

    moves = mover.tick([place("a", 0.9), place("b", 0.0, 0)], 10.0)

    assert [move.item for move in moves] == ["a0"]  # another call of the same name


@settings(max_examples=20, deadline=None)
@given(
    loads=st.lists(st.lists(st.floats(0.001, 0.2), max_size=15), min_size=2, max_size=5),
    noise=st.sampled_from([0.0, 0.03]),
    seed=st.integers(0, 1 << 32),
    lag=st.integers(0, 4),
)
def test_constant_load_comes_to_rest_and_no_call_moves_twice_in_half_a_minute(
    loads: Sequence[Sequence[float]], noise: float, seed: int, lag: int
) -> None:
    """Measurements are noisy and seconds old, as they are in life: where loads lie at the edge noise may ask for a last
    move at any time, but for no more than one of a place, and for none back to where a call was before."""
    rng = thrown(seed)
    mover = Mover[int](BETWEEN_SHARDS)
    weight = dict(enumerate(load for held in loads for load in held))
    where = dict(enumerate(at for at, held in enumerate(loads) for _ in held))
    seen: list[list[float]] = []
    moved: list[tuple[int, int]] = []
    left: set[tuple[int, str]] = set()
    late: list[str] = []
    for now in range(600):
        sums = [sum(weight[call] for call, at in where.items() if at == place) for place in range(len(loads))]
        seen.append([total * rng.uniform(1 - noise, 1 + noise) for total in sums])
        measured = seen[max(0, now - lag)]
        places = [
            Place(
                name=str(at),
                utilisation=measured[at],
                items=tuple(Item(call, weight[call]) for call, here in where.items() if here == at),
            )
            for at in range(len(loads))
        ]
        for move in mover.tick(places, now):
            where[move.item] = int(move.target)
            moved.append((now, move.item))
            if now > 400:
                late.append(move.origin)
                assert noise
                assert (move.item, move.target) not in left
            left.add((move.item, move.origin))

    for now, call in moved:
        assert sum(other == call and abs(when - now) < REST_S for when, other in moved) == 1
    assert len(late) == len(set(late))
