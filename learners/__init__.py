"""Learning: parameters from experience."""
