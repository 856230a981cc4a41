"""PyTorch is not part of Slicer: say so, and install it through the PyTorch extension when asked."""

from .messages import NO_TORCH_EXTENSION


def install_torch() -> str:
    """Install PyTorch through Slicer's PyTorch extension, which asks before it downloads.

    Returns
    -------
    str
        Empty when it is installed now, else why not.
    """
    try:
        import PyTorchUtils  # the module of the PyTorch extension: there only when that is installed
    except ImportError:
        return NO_TORCH_EXTENSION
    utils = PyTorchUtils.PyTorchUtilsLogic()
    if not utils.torchInstalled():
        try:
            utils.installTorch(askConfirmation=True)
        except Exception as error:  # pip's failures have no class of their own; the panel shows what pip said
            return str(error)
    return ""
