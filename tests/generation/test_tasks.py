"""Plans of very many objects: packed sources give what others give, and names and tasks agree."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from dimvida.data import packed
from dimvida.data.opening import open_source
from dimvida.data.packed import CHUNK_ITEMS, Packed
from dimvida.generation.plan import make_plan

VIEWS = ("front", "right", "back", "left")


@pytest.mark.parametrize("count", [0, 1, CHUNK_ITEMS, 2 * CHUNK_ITEMS + 3])
def test_packed_items_are_those_that_went_in(count: int):
    items = [(f"name {number}", number) for number in range(count)]
    sequence = Packed(iter(items))
    assert len(sequence) == count and list(sequence) == items
    assert [sequence[place] for place in range(count)] == items
    assert sequence[:5] == tuple(items[:5])
    again = pickle.loads(pickle.dumps(sequence))
    assert list(again) == items
    with pytest.raises(IndexError):
        sequence[count]
    if count:
        assert sequence[-1] == items[-1]


def test_a_plan_of_a_packed_source_is_that_of_another(tmp_path: Path, write_objects, monkeypatch):
    given = {"chair/a": VIEWS[:1], "chair/b": VIEWS, "sofa/c": VIEWS[1:3], "sofa/d": VIEWS[:1]}
    source = open_source(write_objects(tmp_path / "data", given))
    plain = make_plan(source, VIEWS, draws=2)
    monkeypatch.setattr(packed, "PACKED_FROM", 1)
    small = make_plan(source, VIEWS, draws=2)
    assert isinstance(small.source.records, Packed) and not isinstance(plain.source.records, Packed)
    assert list(small.tasks) == list(plain.tasks) == [small.tasks[place] for place in range(3)]
    assert small.digest() == plain.digest()
    for plan in (plain, small):
        assert (len(plan), plan.views) == (6, 2 * (3 + 2 + 3))
        assert [plan.views_of(range(start, start + 3)) for start in range(4)] == [8, 7, 7, 8]
        assert [plan.known_in(range(start, start + 3)) for start in range(4)] == [4, 5, 5, 4]
    assert [small.source.location(task.index, view) for task in small.tasks for view in task.known] == [
        plain.source.location(task.index, view) for task in plain.tasks for view in task.known
    ]
    first = small.first(1)
    assert [task.record.name for task in first.tasks] == [small.tasks[0].record.name] and len(first) == 2
    assert len(small.first(10**30)) == len(small)  # whatever somebody says
