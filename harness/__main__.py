"""``python -m harness``, and the installed command, are the command line."""

from harness import interrupts


def main() -> None:
    """Signals are heard before the rest is imported, and until the process ends."""
    interrupts.listen()
    from harness import cli

    cli.main()


if __name__ == "__main__":
    main()
