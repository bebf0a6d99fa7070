"""A scripted model and a scripted CLI, for tests of this package and of yours."""
