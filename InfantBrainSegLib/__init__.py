"""Segmentation of T1w/T2w MRI of the isointense infant brain into CSF, gray matter and white matter.

Importing the package is light: torch is imported by the modules that need it.
"""

__version__ = "0.9.0"
