"""Stage 0: the cerebrum with its CSF out of a whole head or a stripped brain, and how the head lies.

Call `extract` and `set_upright` of `extract`.
"""
