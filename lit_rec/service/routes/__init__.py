"""The routes, one module each: what a call does between its schema and the engine or the feedback store."""
