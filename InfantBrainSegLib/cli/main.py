"""The command line, its commands in `COMMANDS`.

Exit code 0; 2 with one line on stderr where the user can mend something; 3 when some scans of a batch have no result; 130 when stopped.
Each command imports what it needs when it runs, so that `--help` and a wrong option answer at once.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from .. import __version__
from ..core.allocator import keep_freed_memory
from ..core.contract import EXIT_STOPPED, EXIT_USER_ERROR
from ..core.cores import wait_passively
from ..core.errors import InfantBrainSegError, describe_error, ran_out
from ..core.memory import LIBRARIES, check_memory
from ..core.streams import tolerant_streams
from ..core.versions import check_torch_and_numpy
from . import batch, bids_app, devices, evaluate, finetune, reproduce, segment, synthesize, train
from .common import NOTE, fail

COMMANDS = (segment, batch, bids_app, devices, evaluate, synthesize, train, finetune, reproduce)  # in the order of --help


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USER_ERROR, f"{self.prog}: {message}; see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    parser = _Parser(
        prog="infantbrainseg", description=f"InfantBrainSegLib {__version__}: infant brain tissue from T1w and T2w MRI. {NOTE}"
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.set_defaults(need=lambda arguments: LIBRARIES)  # a command that computes more says so
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for command in COMMANDS:
        command.add_command(commands)
    return parser


def with_command(words: Sequence[str]) -> list[str]:
    """Name the command of BIDS Apps, which are called without one: BIDS_DIR OUT_DIR participant."""
    names = {command.__name__.rsplit(".", 1)[-1].replace("_", "-") for command in COMMANDS}
    is_app = bool(words) and words[0] not in names and not set(bids_app.LEVELS).isdisjoint(words[1:])
    return [bids_app.NAME, *words] if is_app else list(words)


@tolerant_streams()
def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; those of the process by default.

    Returns
    -------
    int
        Exit code.
    """
    wait_passively()
    arguments = build_parser().parse_args(with_command(sys.argv[1:] if argv is None else argv))
    keep_freed_memory()
    try:
        check_memory(arguments.need(arguments))
        if arguments.run is not evaluate.run:  # which needs no torch
            check_torch_and_numpy()
        return arguments.run(arguments)
    except (InfantBrainSegError, OSError, MemoryError) as error:
        return fail(describe_error(error))
    except (RuntimeError, ImportError) as error:
        if not ran_out(error):
            raise
        return fail(describe_error(error))
    except KeyboardInterrupt as stop:
        fail(str(stop) or "Stopped; no result was written.")
        return EXIT_STOPPED


if __name__ == "__main__":
    sys.exit(main())
