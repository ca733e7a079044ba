"""History features."""
