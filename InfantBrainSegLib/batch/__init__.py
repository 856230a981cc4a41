"""Many scans: which there are, how old the subjects are, runs over all or some of them here or on a cluster, one table and one page.

Call `run_batch`, `run_selected` and `write_group`.
"""
