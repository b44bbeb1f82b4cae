"""The command line: its commands, and how each of them may end.

Tables go to standard output; progress, notices and errors to standard error. Exit status: 0 done, 1 the work failed, 2
wrong usage, 130 interrupted by Ctrl-C, 143 by SIGTERM.
"""

from __future__ import annotations

import gc
import io
import os
import sys

import click

from harness import interrupts
from harness.background import leave_with
from harness.commands import COMMANDS
from harness.errors import HarnessError, InterruptedRunError, UsageError, suggest
from harness.processes import is_main
from harness.terminal import visible
from harness.versions import VERSION


class _Group(click.Group):
    """A group whose unknown commands come with a suggestion."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise UsageError(f"unknown command {args[0]!r}{suggest(args[0], self.list_commands(ctx), what='commands')}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Group,
    commands=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(VERSION)
def cli() -> None:
    """How well does this prompt do, zero-shot and few-shot, how sure are we, and should I fine-tune instead?"""


def main() -> None:
    """Run the command line; a user's mistake is one line on standard error and a non-zero status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # where a terminal or pipe is not UTF-8
    # Importing torch and transformers makes some 10^6 objects that stay; looking through them again and again takes as
    # long as a third of the import.
    gc.set_threshold(200_000, 50, 100)
    with interrupts.listening():
        status = _status()
    leave_with(status)  # without taking all of it apart, which takes a second
    sys.exit(status)


def _status() -> int:
    """What the command ends with."""
    try:
        cli.main(standalone_mode=False)
        interrupts.check()  # asked for when nothing was left to stop
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        return _failed(error.format_message(), error.exit_code)
    except InterruptedRunError as error:
        return _failed(str(error), interrupts.status())
    except HarnessError as error:
        return _failed(str(error), error.exit_status)
    except (KeyboardInterrupt, click.Abort):
        return _failed(interrupts.MESSAGE, interrupts.status())
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has left; nothing more to say
        return 1
    except OSError as error:
        if error.errno is None:
            raise
        return _failed(f"{error.filename or 'the system'}: {error.strerror}", 1)
    return 0


def _failed(message: str, status: int) -> int:
    if is_main():  # every process of a launcher makes the same mistake
        click.echo(visible(f"harness: {' '.join(message.split())}"), err=True)
    return status
