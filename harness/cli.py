"""The command line: its commands, and how each of them may end.

Tables go to standard output; progress, notices and errors to standard error. Exit status: 0 done, 1 the work failed, 2
wrong usage.
"""

from __future__ import annotations

import atexit
import gc
import io
import os
import signal
import sys
import threading
from typing import NoReturn

import click

from harness.commands import COMMANDS
from harness.errors import HarnessError, UsageError, suggest
from harness.processes import is_main
from harness.terminal import visible


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
@click.version_option(package_name="harness")
def cli() -> None:
    """How well does this prompt do, zero-shot and few-shot, how sure are we, and should I fine-tune instead?"""


_INTERRUPTED = "interrupted; the same command starts again from what is stored"


def being_imported(name: str) -> bool:
    """Whether a module's import has begun and not ended."""
    spec = getattr(sys.modules.get(name), "__spec__", None)
    return bool(getattr(spec, "_initializing", False))


def _stop(signum: int, frame: object) -> None:
    if being_imported("torch"):  # an exception inside its C++ would abort the process; so try again a little later
        again = threading.Timer(0.1, os.kill, (os.getpid(), signum))
        again.daemon = True
        again.start()
        return
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line; a user's mistake is one line on standard error and a non-zero status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # where a terminal or pipe is not UTF-8
    signal.signal(signal.SIGTERM, _stop)  # a scheduler's stop is a Ctrl-C: what is computed gets stored
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # it may be ignored, as under nohup
        signal.signal(signal.SIGINT, _stop)
    # Importing torch and transformers makes some 10^6 objects that stay; looking through them again and again takes as
    # long as a third of the import.
    gc.set_threshold(200_000, 50, 100)
    atexit.register(gc.freeze)  # nor do they need to be taken apart, which takes a second
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except HarnessError as error:
        _fail(str(error), error.exit_status)
    except (KeyboardInterrupt, click.Abort):
        _fail(_INTERRUPTED, 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has left; nothing more to say
        sys.exit(1)
    except OSError as error:
        if error.errno is None:
            raise
        _fail(f"{error.filename or 'the system'}: {error.strerror}", 1)
    except RuntimeError as error:  # what Python 3.11 makes of whatever ends a __set_name__, while a class is defined
        if not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        _fail(_INTERRUPTED, 1)


def _fail(message: str, status: int) -> NoReturn:
    if is_main():  # every process of a launcher makes the same mistake
        click.echo(visible(f"harness: {' '.join(message.split())}"), err=True)
    sys.exit(status)
