"""The HTTP service: routes, schemas, middleware, queue, and the demo page.

May import packaging, inference, ranking, store, data, artifacts, core; never what trains.
"""
