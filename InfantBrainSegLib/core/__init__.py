"""Words that every other package uses: labels, errors, checks, progress, and the contract with other programs.

Imports nothing else of the library.
"""
