"""The table model."""

from __future__ import annotations

from dimvida.results.tables import Column, Table


def test_headings_over_columns():
    columns = [Column("a"), Column("1", "b"), Column("2", "b"), Column("3", "c", quoted=True)]
    assert Table("", columns, []).groups() == [("", 1, False), ("b", 2, False), ("c", 1, True)]
    assert Table("", columns[:1], []).groups() == []
    assert [column.heading for column in columns] == ["a", "b: 1", "b: 2", "c: 3"]
