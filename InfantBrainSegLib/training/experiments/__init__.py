"""The runs behind the commands train, synthesize, finetune and reproduce.

Call `run_train`, `run_synthesize`, `run_finetune` and `run_reproduce`.
"""
