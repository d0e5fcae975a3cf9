"""``dimvida`` and ``python -m dimvida``, which is also how torchrun starts the command line.

Nothing is imported here that is not needed before ctrl-C is taken care of.
"""

from __future__ import annotations

import os
import sys

try:
    import signal
except KeyboardInterrupt:  # before the command has taken care of it, which it does first of all
    os.write(2, b"error: interrupted\n")
    os._exit(130)

TYPE_CHECKING = False  # that of typing, whose import would take longer than all before it
if TYPE_CHECKING:
    from types import FrameType


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
    from dimvida.errors import EXIT_FAILURE

    terminal.guard_streams()
    try:
        code = _run(sys.argv[1:])
        interruption.finish()
    except KeyboardInterrupt:  # one that came while it ended
        terminal.print_error(interruption.message())
        code = interruption.exit_code()
    lost = terminal.lost_output()
    if code == 0 and lost is not None:
        terminal.print_error(f"standard output cannot be written ({lost})")
        code = EXIT_FAILURE
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    from dimvida.cli import terminal
    from dimvida.errors import EXIT_INPUT

    try:
        os.getcwd()
    except FileNotFoundError:  # without it even libraries end in ways that nobody understands
        terminal.print_error("the folder that this was started in is not there any more; change to another")
        return EXIT_INPUT
    from dimvida.cli import app

    return app.run(arguments)


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, b"error: interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    main()
