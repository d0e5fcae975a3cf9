"""The data set card of an output: ``README.md`` as the Hugging Face Hub and ``datasets`` read it, and its picture.

The header says what the columns are, so that ``load_dataset(folder)`` gives images and classes; the text has counts and
where everything came from. Everything follows from the configuration and the report, so that it can be checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from dimvida.data.names import counted
from dimvida.files import sha256_file
from dimvida.generation.formats import FORMATS
from dimvida.generation.formats.columns import yaml_features, yaml_text
from dimvida.generation.stats import GenerationReport
from dimvida.generation.storage import Place, write_whole

CARD, PICTURE = "README.md", ".contact-sheet.png"  # hidden, so that nobody's loader takes it for data
_MARK = "<!-- Made by dimvida generate, which writes it anew; remove these two comments from a text of your own. -->"
_PICTURE = re.compile(rf"^\| {re.escape(PICTURE)} \| SHA-256 `([0-9a-f]{{64}})` \|$", re.MULTILINE)
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
_LARGEST = "n>10M"


def write_card(
    folder: Place, configuration: Mapping[str, Any], report: GenerationReport, draw: Callable[[], bytes]
) -> None:
    """Write the card and its picture, unless they are there and right, or the card is the user's own.

    Args:
        folder: The output folder.
        configuration: That of the output.
        report: What the finished output has, as in its ``report.json``.
        draw: Makes the picture, a PNG file.
    """
    if card_problem(folder, configuration, report) is None:
        return
    write_whole(folder / PICTURE, draw())
    write_whole(folder / CARD, card_text(configuration, report, sha256_file(folder / PICTURE)))


def card_problem(folder: Place, configuration: Mapping[str, Any], report: GenerationReport) -> str | None:
    """What is wrong with the card or its picture, one line; None if nothing is, or the card is the user's own."""
    try:
        data = (folder / CARD).read_bytes()
    except FileNotFoundError:
        return f"{CARD}: missing"
    if _MARK.encode() not in data:
        return None
    recorded = _PICTURE.search(data.decode(errors="replace"))
    if recorded is None or data != card_text(configuration, report, recorded[1]).encode():
        return f"{CARD}: not what the shards say"
    try:
        return None if sha256_file(folder / PICTURE) == recorded[1] else f"{PICTURE}: its content has changed"
    except FileNotFoundError:
        return f"{PICTURE}: missing"


def remove_card(folder: Place) -> None:
    """Remove a card that a generator wrote, and its picture."""
    with suppress(FileNotFoundError):
        if _MARK.encode() in (folder / CARD).read_bytes():
            (folder / CARD).unlink()
            (folder / PICTURE).unlink(missing_ok=True)


def card_text(configuration: Mapping[str, Any], report: GenerationReport, picture: str) -> str:
    """The content of ``README.md``; ``picture`` is the SHA-256 of its picture."""
    return "\n".join(["---", *_header(configuration, report), "---", "", *_body(configuration, report, picture), ""])


def _header(configuration: Mapping[str, Any], report: GenerationReport) -> list[str]:
    form = FORMATS[configuration["format"]]
    columns = form.columns(configuration)
    # The loaders of folders and of lines take the types from the first place, that of tar files from the second.
    return [
        f"pretty_name: {yaml_text('Generated views')}",
        "task_categories:",
        "- image-classification",
        "tags:",
        "- synthetic",
        "- multi-view",
        "size_categories:",
        f"- {next((name for limit, name in _SIZES if report.views < limit), _LARGEST)}",
        "configs:",
        "- config_name: default",
        "  data_files:",
        "  - split: train",
        "    path:",
        *(f"    - {yaml_text(pattern)}" for pattern in form.data_files(configuration)),
        *(["  features:", *yaml_features(columns, "  ")] if form.typed_by_configuration else []),
        "dataset_info:",
        "  features:",
        *yaml_features(columns, "  "),
    ]


def _body(configuration: Mapping[str, Any], report: GenerationReport, picture: str) -> list[str]:
    classes, draws = configuration["classes"], configuration["samples_per_view"]
    steps = counted(configuration["steps"], "step")
    of_classes = f" of {len(classes)} class{'es' * (len(classes) > 1)}" if classes else ""
    written = "Generated views and those they were made from." if configuration["include_known"] else "Generated views."
    counts = {
        "Objects": f"{report.objects}{of_classes}",
        "Generated views": f"{report.views} ({counted(draws, 'draw')} of each)",
        "Objects left out": sum(report.left_out.values()),
        "Input files that could not be read": report.not_read,
    }
    made = {
        "Views of the model": ", ".join(f"`{view}`" for view in configuration["view_names"]),
        "Pictures": f"{configuration['image_size']} x {configuration['image_size']} pixels, {_kind(configuration)}",
        "Model": f"checkpoint with SHA-256 `{configuration['checkpoint']}`",
        "Sampling": f"{configuration['solver']}, {steps}, seed {configuration['seed']}",
        "Computed in": f"{configuration['dtype']}, {configuration['backend']}, on {configuration['device']}",
        "Program": f"dimvida {configuration['version']}",
        "Source": f"objects, known and generated views with SHA-256 `{configuration['plan']}`",
        "Content": f"files of shards whose hashes have SHA-256 `{report.content.hexdigest()}`",
        PICTURE: f"SHA-256 `{picture}`",
    }
    return [
        _MARK,
        "",
        "# Generated views",
        "",
        f"{written} Each row names the object (`source`), the SHA-256 of the files that it was made from "
        "(`source_sha256`), and everything that its noise depends on.",
        "",
        f"![Given and generated views of some of the objects]({PICTURE})",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in (counts | made).items()),
        "",
        "```python",
        *FORMATS[configuration["format"]].loading,
        "```",
        "",
        _MARK,
    ]


def _kind(configuration: Mapping[str, Any]) -> str:
    quality = f" of quality {configuration['quality']}" if configuration["quality"] else ""
    return f"{configuration['image_format']}{quality}" if configuration["image_format"] else "uint8"
