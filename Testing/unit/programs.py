"""Programs and packages that may not be here: a test without one is skipped, and fails where `.ci/run` installed them."""

import importlib
import os
import shutil

import pytest

REQUIRED = "FAIL_WITHOUT_PROGRAMS"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def found(*names):
    """Give the path of the first of some programs that is here."""
    return next(filter(None, map(shutil.which, names)), None)


def lacking(reason):
    """End a test that lacks something."""
    if os.environ.get(REQUIRED):
        pytest.fail(f"{reason} ({REQUIRED} is set, so this is no skip.)", pytrace=False)
    pytest.skip(reason)


def needed(remedy, *names):
    """Give the path of the first of some programs that is here; without one the test ends."""
    return found(*names) or lacking(f"There is no {names[0]} here: {remedy}")


def needed_package(name, extra):
    """Import a package; without it the test ends."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return lacking(f"There is no {name} here: pip install '{extra}'")
