"""The multi-stream FCN, its weights, its context, and how it runs over a volume on a device.

Call `load_network`, `Networks` and `Predictor`; everything else serves these two.
"""
