"""What an agent thinks with: neurons, codes, networks and policies."""
