"""The recommender: an encoder's back end, an index and a ranker behind one call.

May import ranking, metrics.top_k, data, artifacts, core; light enough to serve.
"""
