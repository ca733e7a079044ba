"""What the service counts for Prometheus. The names of the Instacart seed are kept."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

__all__ = ["CONTENT_TYPE_PLAIN_0_0_4", "Monitoring"]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class Monitoring:
    """Counters of one app, in a registry of their own.

    Label values come from fixed sets (routes are templates, statuses numbers), so that no caller can add series.
    """

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.requests = Counter("http_requests", "Requests answered.", ["method", "route", "status"], registry=registry)
        self.request_seconds = Histogram(
            "http_request_duration_seconds", "Time to answer.", ["route"], buckets=_SECONDS, registry=registry
        )
        self.in_progress = Gauge("http_requests_in_progress", "Requests being answered.", registry=registry)
        self.refused = Counter(
            "requests_refused",
            "Requests that were not let in: key, rate, size, slow_body, overload, loading.",
            ["reason"],
            registry=registry,
        )
        self.recommendations = Counter(
            "recommendation_requests",
            "Calls of /recommend that were let in, by outcome.",
            ["status"],
            registry=registry,
        )
        self.by_arm = Counter(
            "recommendations_served", "Lists served.", ["arm", "model_version", "mode"], registry=registry
        )
        self.recommendation_seconds = Histogram(
            "recommendation_latency_seconds", "Time to recommend.", buckets=_SECONDS, registry=registry
        )
        self.encode_seconds = Histogram(
            "recommendation_encode_seconds",
            "Time in the text encoder, of requests that went there.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.rank_seconds = Histogram(
            "recommendation_rank_seconds", "Time to rank the catalogue.", buckets=_SECONDS, registry=registry
        )
        self.encode_batch_size = Histogram(
            "encode_batch_size", "Texts encoded together.", buckets=(1, 2, 4, 8, 16, 32, 64), registry=registry
        )
        self.waiting = Gauge("requests_waiting", "Requests that wait for a thread.", ["queue"], registry=registry)
        self.feedback_events = Counter("feedback_events", "Events stored.", ["event_type"], registry=registry)
        self.feedback_duplicates = Counter("feedback_duplicates", "Events that were stored before.", registry=registry)
        self.feedback_rejected = Counter("feedback_rejected", "Events that could not be used.", registry=registry)
        self.feedback_unattributed = Counter(
            "feedback_unattributed", "Events stored, of products that no stored list holds.", registry=registry
        )
        self.feedback_seconds = Histogram(
            "feedback_ingest_latency_seconds",
            "Time to store the events of a call.",
            buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1),
            registry=registry,
        )
        self.feedback_store_up = Gauge("feedback_store_up", "1 while the feedback store answers.", registry=registry)
        self.exposures_lost = Counter("exposures_lost", "Exposures that were not stored.", registry=registry)
        self.exposures_wait = Gauge(
            "exposures_wait", "1 while the feedback store does not take what was served.", registry=registry
        )
        self.model_loaded = Gauge("model_loaded", "1 once every model is loaded and warm.", registry=registry)
        self.model_info = Gauge(
            "model_info", "The models that are loaded.", ["arm", "model_version"], registry=registry
        )
        self.model_loaded.set(0)
        for status in ("success", "error"):
            self.recommendations.labels(status)

    def exposition(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)
