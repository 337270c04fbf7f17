"""The tables of published results, computed from the records alone, without torch."""
