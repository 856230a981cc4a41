"""What can go wrong, as one small family of exceptions.

Every message is one line that says what was found, what was wanted and the remedy. The command line turns any of them
into that line on stderr and exit code 2; the Slicer panel shows the same line.
"""


class InfantBrainSegError(Exception):
    """Base of every error this project raises on purpose."""


class InputError(InfantBrainSegError):
    """An image, a mask, a folder or an option that can not be used as given."""


class DeviceError(InfantBrainSegError):
    """A compute device that does not exist here, or has no memory left."""


class WeightsError(InfantBrainSegError):
    """A weights file or checkpoint that is missing, damaged or made for another network."""


class TrainingError(InfantBrainSegError):
    """A training run that can not start or can not go on."""
