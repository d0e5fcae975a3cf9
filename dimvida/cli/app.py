"""The ``dimvida`` command: turns errors and signals into one line and an exit code.

Nothing is imported here that is not needed before ctrl-C is taken care of.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False  # that of typing, whose import would take longer than all before it
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

EXIT_FAILURE = 1
EXIT_INPUT = 2
EXIT_INTERRUPTED = 130

# Options of all commands, which may stand behind the command's name too.
_ANYWHERE = ("--debug", "--quiet", "-q", "--version", "-V")


def __getattr__(name: str) -> Any:
    if name == "app":  # the commands and all that they import
        from dimvida.cli.commands import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code.

    0 done, 2 usage or bad input, 1 failure, 130 ctrl-C, 128 and its number for another signal.
    """
    from dimvida import interruption
    from dimvida.cli import progress
    from dimvida.cli.commands import app

    arguments = _options_first(arguments)
    progress.be_quiet(False)
    try:
        result: Any = app(arguments, standalone_mode=False, obj=arguments)  # for results, see provenance
    except KeyboardInterrupt:
        return _interrupted()
    except Exception as error:
        # An interruption in the middle of a library may come out of it as whatever it makes of that.
        if interruption.first_signal() is not None or type(error).__name__ == "Abort":
            return _interrupted()
        if "--debug" in arguments:
            raise
        return _report(error)
    if result == EXIT_INTERRUPTED:  # what newer typers make of a KeyboardInterrupt, without a word
        return _interrupted()
    return result if isinstance(result, int) else 0


def main() -> None:
    """Entry point of the ``dimvida`` script."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    if sys.getfilesystemencoding() != "utf-8":  # file names are ids and decide about noise, so no locale may
        os.environ.setdefault("PYTHONIOENCODING", getattr(sys.stdout, "encoding", None) or "utf-8")
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    from dimvida import interruption

    interruption.install()
    from dimvida.cli import terminal

    terminal.guard_streams()
    try:
        code = run(sys.argv[1:]) if _is_somewhere() else EXIT_INPUT
        interruption.finish()
    except KeyboardInterrupt:  # one that came while it ended
        code = _interrupted()
    lost = terminal.lost_output()
    if code == 0 and lost is not None:
        code = _fail(f"standard output cannot be written ({lost})", EXIT_FAILURE)
    sys.exit(code)


def _is_somewhere() -> bool:
    """Whether the working directory exists, without which even libraries end in ways that nobody understands."""
    try:
        os.getcwd()
    except FileNotFoundError:
        _fail("the folder that this was started in is not there any more; change to another", EXIT_INPUT)
        return False
    return True


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, b"error: interrupted\n")
    os._exit(EXIT_INTERRUPTED)


def _options_first(arguments: list[str]) -> list[str]:
    """The same command line, as the parser wants it: options of all commands before the command."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    common = [text for text in arguments[:end] if text in _ANYWHERE]
    return common + [text for text in arguments[:end] if text not in _ANYWHERE] + arguments[end:]


def _report(error: Exception) -> int:
    from dimvida.errors import DimvidaError, FailedOnAnotherRank, InputError

    if isinstance(error, FailedOnAnotherRank):
        return error.code
    if hasattr(error, "format_message"):  # click's usage errors, whichever click typer is built on
        if type(error).__name__ == "NoArgsIsHelpError":  # the help was shown when this was made
            return EXIT_INPUT
        return _fail(error.format_message(), EXIT_INPUT)
    if isinstance(error, InputError):
        return _fail(str(error), EXIT_INPUT)
    if isinstance(error, DimvidaError):
        return _fail(str(error), EXIT_FAILURE)
    if isinstance(error, (RuntimeError, MemoryError)):
        from dimvida.generation.complete import is_out_of_memory

        if is_out_of_memory(error):
            reason = str(error).strip().partition("\n")[0] or "the system gives no more"
            return _fail(f"not enough memory ({reason}); smaller batches, images or networks take less", EXIT_FAILURE)
    return _fail(f"{type(error).__name__}: {error} (--debug shows the trace)", EXIT_FAILURE)


def _interrupted() -> int:
    from dimvida import interruption

    return _fail(interruption.message(), interruption.exit_code())


def _fail(message: str, code: int) -> int:
    from dimvida.cli.terminal import printable

    print("error: " + printable(" ".join(message.split())), file=sys.stderr)
    return code
