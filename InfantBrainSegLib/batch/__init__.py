"""Many scans: which there are, how old the subjects are, one run over all, one table.

Call `run_batch`.
"""
