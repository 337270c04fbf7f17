"""The command film: an organism as it acts, and the spikes with which it decides."""
