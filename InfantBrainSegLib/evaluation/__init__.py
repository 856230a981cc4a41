"""Labels against references: Dice, surface distances, volumes.

Call `run_evaluate` for files, `evaluate_labels` for arrays.
"""
