"""Generations of genomes, and where their trials run."""
