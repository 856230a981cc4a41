"""What can go wrong, as one small family of exceptions.

Every message is one line that says what was found, what was wanted and the remedy. The command line turns any of them
into that line on stderr and exit code 2; the Slicer panel shows the same line.
"""


class InfantBrainSegError(Exception):
    """Base of every error this project raises on purpose."""


class InputError(InfantBrainSegError):
    """An image, a mask, a folder or an option that can not be used as given."""


class AlignmentError(InputError):
    """A T2 that can not be brought onto T1.

    Parameters
    ----------
    found, wanted, remedy : str
        Parts of the sentence, without its stops.
    """

    def __init__(self, found: str, wanted: str, remedy: str):
        super().__init__(f"{found}; wanted {wanted}: {remedy}.")
        self.found, self.wanted, self.remedy = found, wanted, remedy


class DeviceError(InfantBrainSegError):
    """A compute device that does not exist here, or has no memory left."""


class WeightsError(InfantBrainSegError):
    """A weights file or checkpoint that is missing, damaged or made for another network."""


class TrainingError(InfantBrainSegError):
    """A training run that can not start or can not go on."""


def in_words(error: Exception) -> str:
    """Say in one line what went wrong, for errors of ours and for those of the machine.

    Parameters
    ----------
    error : Exception

    Returns
    -------
    str
    """
    if isinstance(error, InfantBrainSegError):
        text = str(error)
    elif isinstance(error, MemoryError):
        text = "Memory ran out: close other programs, or use a machine with more memory."
    elif isinstance(error, OSError):
        text = f"{error.filename or 'A file'} can not be read or written ({error.strerror or error}): check the path and the free space."
    else:
        text = f"Unexpected {type(error).__name__} ({error}): a fault of this program; please report it."
    return " ".join(text.split())
