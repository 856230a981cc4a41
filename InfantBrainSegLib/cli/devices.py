"""`devices`: what can compute here."""

import argparse
import json

from ..core.contract import EXIT_OK


def add_command(commands) -> None:
    """Add the command to the subparsers of the whole command line."""
    devices = commands.add_parser("devices", help="list the devices that can compute here, as JSON")
    devices.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the devices as JSON; give the exit code."""
    from ..networks.found_devices import list_devices

    print(json.dumps(list_devices()))
    return EXIT_OK
