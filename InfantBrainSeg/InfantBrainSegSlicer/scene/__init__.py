"""The MRML scene: nodes, results, statistics, provenance, and what the scans are checked for at once.

Reads and writes nodes; starts nothing and draws nothing.
"""
