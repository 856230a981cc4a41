"""Which versions of the libraries below do not work together."""

from importlib import metadata

from .errors import InfantBrainSegError

_FIRST_WITH_NUMPY_2 = (2, 3)  # torch's wheels before it were built for numpy 1, and then give no arrays


def check_torch_and_numpy() -> None:
    """Make sure that torch can take and give numpy's arrays, without importing either of them.

    Raises
    ------
    InfantBrainSegError
        If this torch was built for numpy 1 and numpy 2 is installed.
    """
    torch, numpy = _version("torch"), _version("numpy")
    if torch and numpy and _numbers(torch) < _FIRST_WITH_NUMPY_2 and _numbers(numpy) >= (2,):
        raise InfantBrainSegError(
            f"torch {torch} was built for numpy 1 and does not work with numpy {numpy}; wanted numpy 1 or torch 2.3 or newer: "
            "give the command pip install 'numpy<2', or install a newer torch."
        )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split("+")[0].split(".")[:2]
    return tuple(int(part) for part in parts if part.isdecimal())
