"""The files of a run: result files, overview picture, BIDS derivative.

Call `staged_folder` and the writers; nothing here computes.
"""
