"""One run of the library in a child process: what it is given, how it is watched, what comes back.

Call the tasks; they give results to `scene`.
"""
