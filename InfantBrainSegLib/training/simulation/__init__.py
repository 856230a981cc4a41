"""Synthetic scans: contrast, artefacts and anatomy painted from label maps.

Call `Simulator` and `HeadSimulator`.
"""
