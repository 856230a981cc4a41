"""What is checked before the networks run (`input_checks`) and after (`result_checks`), and the measures behind it.

Call `inspect`, `check_images` and `judge`.
"""
