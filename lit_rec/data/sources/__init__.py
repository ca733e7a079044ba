"""Where raw data comes from: one module a source, each with ``load`` to the same validated tables."""
