"""``python -m dimvida``, which is also how torchrun starts the command line."""

from dimvida.cli.app import main

main()
