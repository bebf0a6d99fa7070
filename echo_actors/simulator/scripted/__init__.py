"""The scripted CLI's parts: standard library only, and little of it, so that it starts in milliseconds.

The package imports only itself, by relative imports, and so works from a bare directory on `sys.path` as well.
No module here imports dataclasses, pathlib, subprocess or typing when it runs.
"""
