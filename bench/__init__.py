"""Benchmarks: the engine against its peers on the same machine, run by ``python -m bench``."""
