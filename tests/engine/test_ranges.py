"""Ranges of host ids: never handed out twice, found again, and an error that says who has them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from havre.engine.ranges import Free, Held, Ranges, holds
from havre.errors import Conflict
from havre.spec.idmaps import IdMap, IdMaps, one

POOL = ((1000, 100), (5000, 50))


def test_take_begins_where_this_daemon_begins_and_wraps_around():
    assert Free(POOL, 0, []).take(10) == 1000
    assert Free(POOL, 1040, []).take(10) == 1040
    assert Free(POOL, 1040, [Held(1040, 60, "a"), Held(5000, 50, "b")]).take(10) == 1000


def test_take_goes_to_the_next_gap_and_the_next_span():
    taken = [Held(1000, 30, "a"), Held(1035, 60, "b")]
    assert Free(POOL, 0, taken).take(5) == 1030
    assert Free(POOL, 0, taken).take(6) == 5000


def test_error_names_every_holder_and_its_range():
    taken = [Held(1000, 60, "web"), Held(5000, 50, "db"), Held(1, 3, "elsewhere")]
    with pytest.raises(Conflict) as caught:
        Free(POOL, 0, taken).take(60)
    text = str(caught.value)
    assert "no 60 ids in a row are free" in text and "the ids are 1000-1099, 5000-5049" in text
    assert "web has 1000-1059, db has 5000-5049" in text and "elsewhere" not in text
    assert "/etc/subuid" in caught.value.hint


def test_error_lists_twenty_holders_and_counts_the_rest():
    taken = [Held(1000 + number, 1, f"c{number}") for number in range(100)]
    with pytest.raises(Conflict, match="c19 has 1019-1019, and 80 more"):
        Free(((1000, 100),), 0, taken).take(1)


def test_hold_keeps_what_is_on_its_way_from_the_next_and_gives_it_back():
    ranges = Ranges(POOL)

    def make(free):
        return one(free.take(60), 60)

    with ranges.hold("a", "first", make, []) as maps:
        assert maps is not None and maps.uids == (IdMap(0, 1000, 60),)
        with pytest.raises(Conflict, match="first has 1000-1059"), ranges.hold("b", "second", make, []):
            pass
    with ranges.hold("b", "second", make, []) as maps:
        assert maps is not None and maps.uids[0].outside == 1000
    with ranges.hold("c", "third", make, holds("second", one(1000, 30))) as maps:
        assert maps is not None and maps.uids[0].outside == 1030


def test_reserved_ids_of_the_daemon_are_nobodys():
    with Ranges(POOL, reserved=[(1000, 90)]).hold("a", "x", lambda free: one(free.take(20), 20), []) as maps:
        assert maps is not None and maps.uids[0].outside == 5000


def test_holds_counts_a_range_of_uids_and_gids_once_and_each_of_several():
    maps = IdMaps((IdMap(0, 10, 5), IdMap(5, 7, 1)), (IdMap(0, 10, 5),))
    assert holds("x", maps) == [Held(10, 5, "x"), Held(7, 1, "x")] and holds("x", None) == []


@given(st.lists(st.integers(1, 40), max_size=30), st.integers(900, 5100), st.data())
def test_ranges_never_overlap_whatever_comes_and_goes(sizes, first, data):
    taken: list[Held] = []
    for number, size in enumerate(sizes):
        try:
            start = Free(POOL, first, taken).take(size)
        except Conflict:
            gaps = set(range(1000, 1100)) - {
                one_id for held in taken for one_id in range(held.start, held.start + held.size)
            }
            assert not any(all(one_id + more in gaps for more in range(size)) for one_id in gaps)
            continue
        new = set(range(start, start + size))
        assert all(not new & set(range(held.start, held.start + held.size)) for held in taken)
        assert new <= set(range(1000, 1100)) | set(range(5000, 5050))
        taken.append(Held(start, size, str(number)))
        if data.draw(st.booleans()) and taken:
            taken.pop(data.draw(st.integers(0, len(taken) - 1)))
