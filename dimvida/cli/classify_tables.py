"""The tables that ``dimvida classify`` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from dimvida.cli.terminal import console, new_table, plus_minus
from dimvida.data.names import counted
from dimvida.results.metrics import ACCURACY, p_value

TITLES = {
    "scratch": "From scratch",
    "finetuned": "Fine-tuned",
    "averaging": "Ways to average over views",
    "samples": "Samples of each generated view",
    "augmentation": "Standard augmentation (taw: TrivialAugmentWide) and generated views",
    "views": "Views that an answer comes from",
    "steps": "Network evaluations of the sampler",
}


def print_tables(results: dict[str, Any]) -> None:
    """The paper's tables, then those beyond them, then what McNemar's test says of the paper's."""
    screen = console()
    cells, names = results["cells"], {cell["id"]: cell for cell in results["cells"]}
    for table in ("scratch", "finetuned"):
        chosen = [cell for cell in cells if cell["table"] == table]
        if chosen:
            screen.print(_paper_table(TITLES[table], chosen, results))
    p_values = {comparison["b"]: comparison["p"] for comparison in results["comparisons"]}
    for group in dict.fromkeys(cell["group"] for cell in cells if cell["group"]):
        screen.print(_beyond_table(TITLES[group], [cell for cell in cells if cell["group"] == group], p_values))
    firsts = {(cell["table"], cell["classifier"]): cell["id"] for cell in reversed(cells)}
    for table in ("scratch", "finetuned"):
        shown = [pair for pair in results["comparisons"] if _is_first_of(table, names[pair["a"]], firsts)]
        if shown:
            screen.print(_comparison_table(TITLES[table], shown, names))


def _is_first_of(table: str, cell: dict[str, Any], firsts: dict[tuple[str, str], str]) -> bool:
    return cell["table"] == table and firsts[table, cell["classifier"]] == cell["id"]


def _paper_table(title: str, cells: Sequence[dict[str, Any]], results: dict[str, Any]) -> Table:
    seeds = len(cells[0]["accuracy"]["values"])
    spread = f" {plus_minus()} deviation over {seeds} seeds" if seeds > 1 else ", 1 seed"
    average = next(cell["average"] for cell in cells if cell["test"] == "ea")
    title = f"{title}: accuracy in %{spread}; ea: mean of {len(results['view_names'])} views' {average}"
    table = _table(title, ("classifier", "trained on", "steps", "e", "ea"))
    rows: dict[tuple[Any, ...], dict[str, str]] = {}
    for cell in cells:
        row = rows.setdefault((cell["classifier"], cell["train"], cell["train_steps"]), {})
        row[cell["test"]] = _accuracy(cell)
    for (classifier, train, steps), row in rows.items():
        table.add_row(classifier, train, str(steps), row["e"], row["ea"])
    return table


def _beyond_table(title: str, cells: Sequence[dict[str, Any]], p_values: dict[str, float]) -> Table:
    table = _table(f"{title}: accuracy in %, p against the first row", ("classifier", "trained on", "tested on"))
    for heading in ("accuracy", "p"):
        table.add_column(heading, justify="right")
    previous = None
    for cell in cells:
        if previous not in (None, cell["classifier"]):
            table.add_section()
        previous = cell["classifier"]
        p = p_values.get(cell["id"])
        table.add_row(
            cell["classifier"], _trained(cell), _tested(cell), _accuracy(cell), "" if p is None else p_value(p)
        )
    return table


def _comparison_table(title: str, pairs: Sequence[dict[str, Any]], names: dict[str, dict[str, Any]]) -> Table:
    title = f"{title}, McNemar's test: objects that only c on e, or only the other, has right"
    table = _table(title, ("classifier", "the other", "only c on e", "only other", "p"))
    for pair in pairs:
        other = names[pair["b"]]
        compared = f"{other['train']} on {other['test']}" + (", epochs" if other["budget"] == "epochs" else "")
        table.add_row(other["classifier"], compared, str(pair["only_a"]), str(pair["only_b"]), p_value(pair["p"]))
    return table


def _table(title: str, headings: Sequence[str]) -> Table:
    table = new_table(title=title)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if number < 2 or heading == "tested on" else "right")
    return table


def _trained(cell: dict[str, Any]) -> str:
    draws = cell["train_samples_per_view"]
    return f"{cell['train']}, {draws} samples" if draws > 1 else cell["train"]


def _tested(cell: dict[str, Any]) -> str:
    if cell["test"] == "e":
        return "e"
    details = {
        "averaging": cell["average"],
        "samples": counted(cell["samples_per_view"], "sample"),
        "views": f"{cell['views']} views",
        "steps": counted(cell["sampler_steps"], "evaluation"),
    }
    return ", ".join(filter(None, ("ea", details.get(cell["group"]))))


def _accuracy(cell: dict[str, Any]) -> str:
    mean, deviation = cell["accuracy"]["mean"], cell["accuracy"]["deviation"]
    spread = "" if deviation is None else f" {plus_minus()} {ACCURACY.number(deviation)}"
    return ACCURACY.number(mean) + spread
