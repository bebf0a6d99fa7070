"""The scenarios, one module each; its name is the scenario's, its docstring says what is measured.

A scenario is a coroutine function ``run(harness) -> Result``.
"""
