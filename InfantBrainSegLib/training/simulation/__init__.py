"""Synthetic scans: contrast, artefacts and anatomy made from label maps.

Call `Simulator` and `HeadSimulator`.
"""
