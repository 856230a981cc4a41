"""PyTorch is not part of Slicer: say so, and install it through the PyTorch extension when asked."""

import logging

import qt
import slicer

from .messages import INSTALL_FAILED, INSTALL_QUESTION, NO_TORCH_EXTENSION

WANTED_VERSION = ">=2.2"


def install_torch() -> str:
    """Install PyTorch through Slicer's PyTorch extension, after a question that says what that means.

    Returns
    -------
    str
        Empty when it is installed now or was not wanted, else why not.
    """
    try:
        import PyTorchUtils  # the module of the PyTorch extension: there only when that is installed
    except ImportError:
        return NO_TORCH_EXTENSION
    utils = PyTorchUtils.PyTorchUtilsLogic()
    if utils.torchInstalled() or not slicer.util.confirmOkCancelDisplay(INSTALL_QUESTION):
        return ""
    slicer.app.setOverrideCursor(qt.Qt.WaitCursor)
    try:
        utils.installTorch(torchVersionRequirement=WANTED_VERSION)
    except Exception as error:  # pip's failures have no class of their own
        logging.getLogger("InfantBrainSeg").exception("PyTorch could not be installed")
        return INSTALL_FAILED.format(error=error)
    finally:
        slicer.app.restoreOverrideCursor()
    return ""
