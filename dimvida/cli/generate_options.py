"""Options of ``dimvida generate``, by what they are about."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def _option(panel: str, help_: str, *names: str, metavar: str | None = None, **more: Any) -> Any:
    return typer.Option(*names, metavar=metavar, help=help_, rich_help_panel=panel, **more)


def _verify(folder: Path | None) -> None:
    if folder is not None:
        from dimvida.cli.generate_verify import verify_output

        raise typer.Exit(verify_output(folder))


_HIDDEN = {"show_default": False}  # the text has it, in less room
_INPUT, _MODEL, _OUTPUT = "Input", "Model", "Output"

Input = Annotated[str, _option(_INPUT, "Folder or zip, or 'sample'.", "--data", metavar="PATH")]
View = Annotated[str | None, _option(_INPUT, "Known views, as front,left; default: all.", metavar="NAMES")]
Target = Annotated[str | None, _option(_INPUT, "Views to generate; default: all missing.", metavar="NAMES")]
Split = Annotated[str | None, _option(_INPUT, "Only the objects of this split.", metavar="NAME")]
Strict = Annotated[bool, _option(_INPUT, "Refuse images of another size.", "--strict")]
SkipBad = Annotated[bool, _option(_INPUT, "Unreadable files are no error (exit 0).", "--skip-bad")]
Workers = Annotated[int, _option(_INPUT, "Processes that read; 0: a thread.", min=0, metavar="N")]

CheckpointOption = Annotated[
    str, _option(_MODEL, "A checkpoint's folder; default: bundled.", "--checkpoint", metavar="DIR", **_HIDDEN)
]
Batch = Annotated[str, _option(_MODEL, "Objects at a time; default auto: what fits.", metavar="N", **_HIDDEN)]
Steps = Annotated[int | None, _option(_MODEL, "Network evaluations; default: checkpoint's.", metavar="N")]
Solver = Annotated[str | None, _option(_MODEL, "Such as ddim; default: checkpoint's.", metavar="NAME")]
Seed = Annotated[int, _option(_MODEL, "Of the noise.", metavar="S")]
SamplesPerView = Annotated[int, _option(_MODEL, "Draws of each object.", metavar="K")]
Backend = Annotated[str, _option(_MODEL, "auto, eager or fused.", metavar="NAME")]
DType = Annotated[
    str, _option(_MODEL, "float32, bfloat16, float16; default: auto.", "--dtype", metavar="NAME", **_HIDDEN)
]
Device = Annotated[str, _option(_MODEL, "auto, cpu, cuda, cuda:1, ...", metavar="NAME")]

Output = Annotated[Path, _option(_OUTPUT, "Folder to make, or to continue.", "--out", metavar="DIR")]
Format = Annotated[
    str, _option(_OUTPUT, "imagefolder (default), webdataset, npy.", "--format", metavar="NAME", **_HIDDEN)
]
ImageFormat = Annotated[str | None, _option(_OUTPUT, "png (default), jpeg or webp.", metavar="NAME")]
Quality = Annotated[int | None, _option(_OUTPUT, "Of JPEG and WebP; default 90.", metavar="Q")]
IncludeKnown = Annotated[bool, _option(_OUTPUT, "Write the known views too.", "--include-known")]
ShardSize = Annotated[int | None, _option(_OUTPUT, "Rows of a shard; default about 1024.", metavar="N")]
ShardOption = Annotated[str | None, _option(_OUTPUT, "Do part i of n, in an array job.", "--shard", metavar="I/N")]
Overwrite = Annotated[bool, _option(_OUTPUT, "Replace the output of another run.", "--overwrite")]
DryRun = Annotated[bool, _option(_OUTPUT, "Say what would be done, and how long.", "--dry-run")]
Verify = Annotated[  # eager, so that it needs no other option
    Path | None,
    _option(_OUTPUT, "Only check every file of an output.", metavar="DIR", callback=_verify, is_eager=True),
]
Sheet = Annotated[Path | None, _option(_OUTPUT, "Also draw a contact sheet (PNG).", metavar="FILE")]
SheetRows = Annotated[int, _option(_OUTPUT, "Most rows of the sheet.", metavar="N")]
Truth = Annotated[Path | None, _option(_OUTPUT, "True views, for the sheet.", metavar="PATH")]
