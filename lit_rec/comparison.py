"""Untrained against trained."""
