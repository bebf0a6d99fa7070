"""The documentation; what of it is made of the code is in ``made``."""
