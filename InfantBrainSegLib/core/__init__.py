"""Words that every other package uses: labels, errors, checks, progress, what an option is, and the contract with other programs.

Imports nothing else of the library.
"""
