"""`python -m InfantBrainSegLib`: the command line of `cli`."""

import sys

if __name__ == "__main__":
    if sys.version_info < (3, 10):  # noqa: UP036 - a clone is run by whatever Python there is
        sys.exit("Error: this is Python {}.{}; wanted Python 3.10 or newer: run it with another one.".format(*sys.version_info))
    from .cli.main import main

    sys.exit(main())
