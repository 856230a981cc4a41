"""What can go wrong, as one small family of exceptions.

Every message is one line that says what was found, what was wanted and the remedy. The command line turns any of them
into that line on stderr and exit code 2; the Slicer panel shows the same line.
"""

from enum import Enum

_OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "failed to allocate memory",
    "unable to allocate",
    "not enough memory",
    "alloc_failed",
    "bad_alloc",
    "could not create a primitive",  # oneDNN's word for a buffer that it did not get
    "can't start new thread",
    "failed to map segment",
)


class ErrorCode(Enum):
    """What went wrong, for programs; the message says it to people."""

    GENERAL = "general"
    INPUT = "input"
    NO_SCAN = "no_scan"
    CONSTANT_IMAGE = "constant_image"
    EMPTY_MASK = "empty_mask"
    MASK_ELSEWHERE = "mask_elsewhere"
    SCANS_APART = "scans_apart"
    SMALL_BRAIN = "small_brain"
    NO_CEREBRUM = "no_cerebrum"
    ALIGNMENT = "alignment"
    REPORT_VERSION = "report_version"
    IN_USE = "in_use"
    DEVICE = "device"
    MEMORY = "memory"
    WEIGHTS = "weights"
    TRAINING = "training"


class InfantBrainSegError(Exception):
    """Base of every error this project raises on purpose.

    Parameters
    ----------
    message : str
    code : ErrorCode, optional
        That of the class where nobody needs to tell it from others of its kind.
    """

    code = ErrorCode.GENERAL

    def __init__(self, message: str, code: ErrorCode | None = None):
        super().__init__(message)
        if code is not None:
            self.code = code


class InputError(InfantBrainSegError):
    """An image, a mask, a folder or an option that cannot be used as given."""

    code = ErrorCode.INPUT


class AlignmentError(InputError):
    """A T2 that cannot be brought onto T1.

    Parameters
    ----------
    found, wanted, remedy : str
        Parts of the sentence, without its stops.
    """

    code = ErrorCode.ALIGNMENT

    def __init__(self, found: str, wanted: str, remedy: str):
        super().__init__(f"{found}; wanted {wanted}: {remedy}.")
        self.found, self.wanted, self.remedy = found, wanted, remedy


class DeviceError(InfantBrainSegError):
    """A compute device that does not exist here, or has no memory left."""

    code = ErrorCode.DEVICE


class MemoryShortError(InfantBrainSegError):
    """Less memory than a run needs."""

    code = ErrorCode.MEMORY


class WeightsError(InfantBrainSegError):
    """A weights file or checkpoint that is missing, damaged or made for another network."""

    code = ErrorCode.WEIGHTS


class TrainingError(InfantBrainSegError):
    """A training run that cannot start or cannot go on."""

    code = ErrorCode.TRAINING


def ran_out(error: BaseException) -> bool:
    """Tell whether an exception means that memory ran out, whoever raised it.

    Parameters
    ----------
    error : exception
    """
    if isinstance(error, MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError | ImportError | OSError) and any(sign in text for sign in _OUT_OF_MEMORY)


def describe_error(error: Exception) -> str:
    """Say in one line what went wrong, for errors of ours and for those of the machine."""
    if isinstance(error, InfantBrainSegError):
        text = str(error)
    elif ran_out(error):
        text = "Memory ran out: close other programs, or use a machine with more memory."
    elif isinstance(error, OSError):
        text = f"{error.filename or 'A file'} cannot be read or written ({error.strerror or error}): check the path and the free space."
    else:
        text = f"Unexpected {type(error).__name__} ({error}): a bug in this program; please report it."
    return " ".join(text.split())
