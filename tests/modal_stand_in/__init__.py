"""A stand-in for Modal's client in tests."""
