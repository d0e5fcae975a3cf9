"""``dimvida`` and ``python -m dimvida``, which is also how torchrun starts the command line."""

try:
    from dimvida.cli.app import main
except KeyboardInterrupt:  # before the command has taken care of ctrl-C, which it does first of all
    import os

    os.write(2, b"error: interrupted\n")
    os._exit(130)

if __name__ == "__main__":
    main()
