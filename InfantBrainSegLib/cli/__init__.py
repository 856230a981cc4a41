"""The command line: one file a command, each with `add_command` and `run`; every command imports what it needs when it runs.

Call `main.main`.
"""
