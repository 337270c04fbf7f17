"""What turns experience into better parameters."""
