"""The leaderboard: all published results in one table, generated from the records."""
