"""Conversion of trained ANNs into spiking networks: traced, scaled, calibrated, and explained layer by layer."""
