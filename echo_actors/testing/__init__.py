"""Fakes and conformance kits that users of the package may use too."""
