"""``dimvida reproduce``: the whole chain, from a data set to the report."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer

from dimvida.cli import options
from dimvida.cli.options import command_line, parse_names
from dimvida.errors import DimvidaError, InputError
from dimvida.interruption import SIGNALS
from dimvida.torchrun import is_rank


def reproduce(
    context: typer.Context,
    data: Annotated[str, typer.Option(metavar="PATH", help="Data of any form, or NMR; nmr:PATH insists.")],
    out: options.ContinuedOut,
    nmr_views: options.NmrViews = None,
    preset: options.Preset = "paper",
    minutes: options.TotalMinutes = 0,
    seeds: options.Seeds = 3,
    seed: options.Seed = 0,
    classifiers: options.Classifiers = "resnet18,mobilenet-v3-large",
    weights: options.Weights = None,
    inception_weights: options.InceptionWeights = None,
    lpips_weights: options.LpipsWeights = None,
    beyond: options.Beyond = None,
    set_: options.Set = None,
    init: options.Init = None,
    device: options.Device = "auto",
    skip_bad: options.SkipBad = False,
) -> int:
    """Make the paper's three tables: partition, train, evaluate, classify, report.

    Prints each stage's command line. Ctrl-C and kills lose little: the same
    command again skips what is finished and goes on.
    """
    from dimvida.classification.design import StudyDesign
    from dimvida.cli.options import parse_beyond, parse_weights
    from dimvida.models.checkpoint import load_checkpoint
    from dimvida.reproduction.chain import ReproductionChain, load_state, owned
    from dimvida.reproduction.stages import REPORT, ChainOptions, open_data, parse_data

    if is_rank():
        raise InputError("reproduce runs in one process; start it without torchrun")
    asked = ChainOptions(
        parse_data(data),
        preset,
        budget=minutes,
        seeds=seeds,
        seed=seed,
        classifiers=classifiers,
        weights=tuple(weights or ()),
        inception_weights=inception_weights,
        lpips_weights=lpips_weights,
        beyond=beyond,
        values=tuple(set_ or ()),
        init=init,
        nmr_views=nmr_views,
    )
    # What classify would refuse is refused now, rather than after hours.
    names = parse_names("--classifiers", classifiers) or ()
    StudyDesign(names, parse_weights(weights, names), tuple(range(seeds)), beyond=parse_beyond(beyond))
    if init is not None:
        load_checkpoint(init)
    source = open_data(data, nmr_views)
    with owned(out), signals_noted() as noted:
        state = load_state(out, asked.describe(source), command_line(context))

        def execute(arguments: Sequence[str]) -> None:
            run_command(arguments)
            for number in noted():
                print("stopped; the same command continues")
                signal.raise_signal(number)

        ReproductionChain(asked, state, len(source.view_names), execute, _say, device, skip_bad).run()
    print(f"\neverything is done; report: {out / REPORT / 'report.html'}")
    return 0


def run_command(arguments: Sequence[str]) -> None:
    """Run another command in this process.

    One process for all stages: a kill ends everything at once, signals reach whoever is at work, and progress bars
    and errors are the commands' own.

    Raises:
        KeyboardInterrupt: It was interrupted.
        Exception: Whatever it raises.
    """
    from dimvida.cli.app import EXIT_INTERRUPTED, app

    result = app(list(arguments), standalone_mode=False, obj=list(arguments))  # results name their own command line
    if result == EXIT_INTERRUPTED:  # what newer typers make of a KeyboardInterrupt
        raise KeyboardInterrupt
    if result:
        raise DimvidaError(f"{arguments[0]}: ended with exit code {result}")


@contextmanager
def signals_noted() -> Iterator[Callable[[], set[int]]]:
    """Note which signals arrive, whoever handles them: a training ends well after SIGTERM, but unfinished.

    Yields:
        A function that returns those of ``dimvida.interruption`` that came since it was last called.
    """
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def noted() -> set[int]:
        try:
            return set(SIGNALS).intersection(os.read(reader, 1 << 12))
        except BlockingIOError:
            return set()

    try:
        yield noted
    finally:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)


def _say(text: str) -> None:
    print(text, flush=True)
