"""The figures of the DiMViDA paper (Di Giacomo et al., IEEE CAMAD 2024), all on the NMR data set, as printed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from dimvida.results.tables import Column, Table, TableCell

SOURCE = "Di Giacomo et al., DiMViDA, IEEE CAMAD 2024; NMR data set"
QUOTED = "paper, NMR"

# Table I: metric -> number of available views -> figure; coherence in percent.
GENERATION: dict[str, dict[int, str]] = {
    "fid": {1: "16.43", 2: "15.14", 3: "14.51"},
    "lpips": {1: "0.074", 2: "0.056", 3: "0.048"},
    "ssim": {1: "0.832", 2: "0.884", 3: "0.912"},
    "psnr": {1: "24.028", 2: "26.776", 3: "28.491"},
    "coherence": {1: "85.49", 2: "88.33", 3: "89.14"},
}

# Tables II (from scratch) and III (fine-tuned): table -> classifier -> trained on -> tested on -> accuracy in percent.
CLASSIFICATION: dict[str, dict[str, dict[str, dict[str, str]]]] = {
    "scratch": {
        "resnet18": {"c": {"e": "83.89", "ea": "87.21"}, "ca": {"e": "85.18", "ea": "88.03"}},
        "mobilenet-v3-large": {"c": {"e": "71.01", "ea": "79.66"}, "ca": {"e": "77.95", "ea": "85.45"}},
    },
    "finetuned": {
        "resnet18": {"c": {"e": "89.98", "ea": "89.89"}, "ca": {"e": "90.83", "ea": "90.96"}},
        "mobilenet-v3-large": {"c": {"e": "87.14", "ea": "88.15"}, "ca": {"e": "88.08", "ea": "90.00"}},
    },
}


def beside(
    table: Table, remark: str, titles: Sequence[str], quote: Callable[[int, str], str], group: str = QUOTED
) -> Table:
    """A table with the paper's figures in columns of their own; the table itself where there is no remark.

    Args:
        table: The results of a run.
        remark: What a reader must know of the paper's figures beside them; "" leaves them out.
        titles: Titles of the paper's columns.
        quote: The paper's figure in a row, by its number, and a column, by its title; "" where none belongs.
        group: Over the paper's columns.
    """
    if not remark:
        return table
    columns = [*table.columns, *(Column(title, group, quoted=True) for title in titles)]
    rows = [[*row, *(TableCell(quote(number, title)) for title in titles)] for number, row in enumerate(table.rows)]
    return dataclasses.replace(table, caption=f"{table.caption} {remark}", columns=columns, rows=rows)
