"""What training reads: label maps, heads, labelled scans, and the batches made of them.

Call `build_pack`, `read_scan`, `simulated_sources` and `BatchQueue`.
"""
