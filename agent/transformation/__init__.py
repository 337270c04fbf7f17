"""Transformations: a trained model into another one, beginning with an ANN into a spiking network."""
