"""Images in and out: files, headers, DICOM, grids in space, resampling.

Geometry is `sitk.Image`'s (LPS); arrays of the working space are (X, Y, Z), RAS: `space` alone turns one into the other.
"""
