"""From two scans to the networks' arrays: rigid registration, bias field, foreground and normalisation.

Call `align_pair`, `pair_scans`, `correct_pair` and `prepare`.
"""
