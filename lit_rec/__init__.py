"""Next-order recommendation: rank a whole catalogue so that a user's next order comes first."""

__version__ = "0.1.0"
