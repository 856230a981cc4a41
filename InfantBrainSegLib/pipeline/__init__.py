"""The whole way from T1 and T2 to labels and volumes: `segmenter.segment`.

Call `segment` and `check_scans` with `SegmentOptions`.
"""
