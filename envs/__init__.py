"""What an agent lives in: tasks and the worlds made of them."""
