"""The multi-stream FCN, its weights, its context, and how it runs over a volume on a device.

Call `load_network`, `Networks` and `Predictor`; everything else serves these two.
"""

from ..core.versions import check_torch_and_numpy

check_torch_and_numpy()  # before torch is imported, which would only warn, at length
