"""Images in and out: files, headers, DICOM, grids in space, resampling.

Geometry is `sitk.Image`'s (LPS); arrays of prepared space are (X, Y, Z), RAS.
"""
