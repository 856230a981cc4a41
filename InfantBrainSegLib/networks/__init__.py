"""The multi-stream FCN, its weights, its context, and how it runs over a volume on a device.

Call `load_network` and `Runner`; everything else serves these two.
"""
