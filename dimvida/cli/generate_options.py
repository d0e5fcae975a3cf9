"""Options that only ``dimvida generate`` has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dimvida.cli.options import DATA, MODEL, OUTPUT, option


def _verify(folder: Path | None) -> None:
    if folder is not None:
        from dimvida.cli.generate_verify import verify_output

        raise typer.Exit(verify_output(folder))


Input = Annotated[str, option(DATA, "Folder or zip, or 'sample'.", "--data", metavar="PATH")]
View = Annotated[str | None, option(DATA, "Known views, as front,left; default: all.", metavar="NAMES")]
Target = Annotated[str | None, option(DATA, "Views to generate; default: all missing.", metavar="NAMES")]
Strict = Annotated[bool, option(DATA, "Refuse images of another size.", "--strict")]

Batch = Annotated[str, option(MODEL, "Objects at a time; default auto: what fits.", metavar="N")]
SamplesPerView = Annotated[int, option(MODEL, "Draws of each object.", metavar="K")]

Format = Annotated[str, option(OUTPUT, "imagefolder (default), webdataset, npy.", "--format", metavar="NAME")]
ImageFormat = Annotated[str | None, option(OUTPUT, "png (default), jpeg or webp.", metavar="NAME")]
Quality = Annotated[int | None, option(OUTPUT, "Of JPEG and WebP; default 90.", metavar="Q")]
IncludeKnown = Annotated[bool, option(OUTPUT, "Write the known views too.", "--include-known")]
ShardSize = Annotated[int | None, option(OUTPUT, "Rows of a shard; default about 1024.", metavar="N")]
ShardOption = Annotated[str | None, option(OUTPUT, "Do part i of n, in an array job.", "--shard", metavar="I/N")]
DryRun = Annotated[bool, option(OUTPUT, "Say what would be done, and how long.", "--dry-run")]
Verify = Annotated[  # eager, so that it needs no other option
    Path | None,
    option(OUTPUT, "Only check every file of an output.", metavar="DIR", callback=_verify, is_eager=True),
]
Sheet = Annotated[Path | None, option(OUTPUT, "Also draw a contact sheet (PNG).", metavar="FILE")]
SheetRows = Annotated[int, option(OUTPUT, "Most rows of the sheet.", metavar="N")]
Truth = Annotated[Path | None, option(OUTPUT, "True views, for the sheet.", metavar="PATH")]
