"""Suites, peers and published results."""
