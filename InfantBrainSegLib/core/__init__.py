"""Words that every other package uses: labels, errors, checks, progress.

Imports nothing else of the library.
"""
