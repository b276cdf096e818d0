"""Which commands are there, and how does each end: quietly, or with one line that says what is wrong."""

import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import NoReturn

import click

import theodolite
from theodolite.cli.demo import demo
from theodolite.cli.export import export
from theodolite.cli.judging import diagnose, report
from theodolite.cli.listing import ls, show
from theodolite.cli.pictures import draw, line, spectrum, surface
from theodolite.cli.zoo import zoo
from theodolite.errors import TheodoliteError

_FAILED, _INTERRUPTED = 1, 130  # 2 is kept for `diagnose --exit-code`; 130 is what shells give for Ctrl-C

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=_SETTINGS, invoke_without_command=True)
@click.version_option(theodolite.__version__, "-V", "--version", message="theodolite %(version)s")
@click.pass_context
def commands(context: click.Context) -> None:
    """Theodolite names the obstacle that slows a neural network's training, and shows it.

    Start with `theodolite demo`. A RUN is the folder that a Monitor has written, for example runs/first.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for _command in (demo, diagnose, report, ls, show, export, surface, line, spectrum, draw, zoo):
    commands.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and end the process with its exit code.

    Args:
        arguments: Words after the program's name; those of the process if None.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal without Unicode gets "?" for "λ" and no traceback
            stream.reconfigure(errors="replace")
    sys.exit(_exit_code(arguments))


def _exit_code(arguments: Sequence[str] | None) -> int:
    """What the shell is told: 0 done, 1 an error, 130 Ctrl-C; ``diagnose --exit-code`` has 2 of its own."""
    try:
        words = None if arguments is None else list(arguments)
        return int(commands.main(args=words, prog_name="theodolite", standalone_mode=False) or 0)
    except click.Abort:
        return _INTERRUPTED
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f" See `{context.command_path} --help`." if context is not None else ""
        return _complain(f"{error.format_message()}{hint}")
    except TheodoliteError as error:
        return _complain(str(error))
    except OSError as error:
        return _complain(": ".join(str(part) for part in (error.filename, error.strerror or error) if part))


def _complain(message: str) -> int:
    click.echo(f"error: {' '.join(message.split())}", err=True)
    return _FAILED
