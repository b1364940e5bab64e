"""The Prometheus metrics: what each counts, and the one place where it moves.

Every request moves `linnet_requests_total` by exactly one, every image `linnet_images_total` by exactly one. Must not
import a web framework or ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

from service.exchange import Exchange

# Seconds. From a cached answer of a probe to the default deadline.
REQUEST_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
STAGE_BUCKETS_S = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)
CONFIDENCE_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)

# Names the folder where several workers keep their counts; set by whoever starts them. prometheus-client's own name.
SHARED_DIR_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

ANSWERED, ABANDONED = "answered", "abandoned"
_MODEL = ("model", "version")


class Metrics:
    """All metrics of one application, in a registry of its own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a time stamp for every series, which nobody reads
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)  # memory, CPU and file descriptors of this process
        self._requests = Counter(
            "linnet_requests_total",
            "Requests by how they ended; code is 'ok', a problem's code, or 'client_gone' (status 499, never sent)",
            ("route", "status", "code"),
            registry=registry,
        )
        self._request_s = Histogram(
            "linnet_request_seconds",
            "From the request's head to the end of the answer",
            ("route",),
            buckets=REQUEST_BUCKETS_S,
            registry=registry,
        )
        self.images = Counter(
            "linnet_images_total",
            "Images that were taken on, by how they ended: 'answered', a problem's code, or 'abandoned'",
            (*_MODEL, "outcome"),
            registry=registry,
        )
        self.decode_s = Histogram(
            "linnet_decode_seconds",
            "Decoding one image; a large one waits for a thread first",
            _MODEL,
            buckets=STAGE_BUCKETS_S,
            registry=registry,
        )
        self.queue_s = Histogram(
            "linnet_queue_seconds",
            "One image's wait for the batch before to finish",
            _MODEL,
            buckets=STAGE_BUCKETS_S,
            registry=registry,
        )
        self.inference_s = Histogram(
            "linnet_inference_seconds", "One batch in the engine", _MODEL, buckets=STAGE_BUCKETS_S, registry=registry
        )
        self.batch_images = Histogram(
            "linnet_batch_images", "Images per batch", _MODEL, buckets=BATCH_BUCKETS, registry=registry
        )
        self.queued_images = Gauge(
            "linnet_queued_images",
            "Images left waiting when the last batch began",
            _MODEL,
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.pending_images = Gauge(
            "linnet_pending_images",
            "Images accepted and not yet answered: the depth of the queue, bounded by LINNET_MAX_PENDING_IMAGES",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.pending_bytes = Gauge(
            "linnet_pending_bytes",
            "Bytes of bodies that are held, bounded by LINNET_MAX_PENDING_BYTES",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.predictions = Counter(
            "linnet_predictions_total",
            "Most probable classes; a shift against the past is drift",
            (*_MODEL, "label"),
            registry=registry,
        )
        self.uncertain = Counter(
            "linnet_uncertain_total", "Predictions that the bundle's rule abstains from", _MODEL, registry=registry
        )
        self.confidence = Histogram(
            "linnet_confidence",
            "Probability of the most probable class; a shift against the past is drift",
            _MODEL,
            buckets=CONFIDENCE_BUCKETS,
            registry=registry,
        )
        self.loads = Counter(
            "linnet_model_loads_total",
            "Changes of the model repository; outcome is 'loaded', 'failed' or 'unloaded'",
            (*_MODEL, "outcome"),
            registry=registry,
        )
        self.fallbacks = Counter(
            "linnet_model_fallbacks_total",
            "Loads in which the variant that would be fastest failed its self-test on this machine",
            _MODEL,
            registry=registry,
        )
        self.served = Gauge(
            "linnet_model_served",
            "1 while this version is served, 0 after it was unloaded; says which file on which provider",
            (*_MODEL, "variant", "provider"),
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.ready = Gauge(
            "linnet_ready",
            "Processes that are ready for requests",
            registry=registry,
            multiprocess_mode="livesum",
        )

    def count(self, exchange: Exchange) -> None:
        """Count one request; called once for each, when it has ended."""
        self._requests.labels(exchange.route, str(exchange.status), exchange.code).inc()
        self._request_s.labels(exchange.route).observe(exchange.elapsed_ms() / 1000)

    def set_pending(self, images: int, held_bytes: int) -> None:
        """Note what is accepted and not yet answered."""
        self.pending_images.set(images)
        self.pending_bytes.set(held_bytes)

    def count_unparsed(self, code: str) -> None:
        """Count a request that never became one."""
        self._requests.labels("(unparsed)", "400", code).inc()

    def of_model(self, name: str, version: int, classes: Sequence[str]) -> ModelMetrics:
        """Return the metrics of one version, their labels resolved once instead of per image."""
        return ModelMetrics(self, name, str(version), classes)


class ModelMetrics:
    """The metrics of one version of a model."""

    def __init__(self, metrics: Metrics, name: str, version: str, classes: Sequence[str]) -> None:
        labels = (name, version)
        self._decode_s = metrics.decode_s.labels(*labels)
        self._queue_s = metrics.queue_s.labels(*labels)
        self._inference_s = metrics.inference_s.labels(*labels)
        self._batch_images = metrics.batch_images.labels(*labels)
        self._queued_images = metrics.queued_images.labels(*labels)
        self._confidence = metrics.confidence.labels(*labels)
        self._uncertain = metrics.uncertain.labels(*labels)
        self._classes = [metrics.predictions.labels(*labels, label) for label in classes]
        self._answered = metrics.images.labels(*labels, ANSWERED)
        self._images = metrics.images
        self._labels = labels

    def add_batch(self, images: int, waiting: int, seconds: float) -> None:
        """Note one batch that ran, and how many images it left waiting."""
        self._batch_images.observe(images)
        self._inference_s.observe(seconds)
        self._queued_images.set(waiting)

    def add_answer(self, queue_ms: float, decode_ms: float | None) -> None:
        """Note one image that was answered; `decode_ms` is None where it came as pixels."""
        self._answered.inc()
        self._queue_s.observe(queue_ms / 1000)
        if decode_ms is not None:
            self._decode_s.observe(decode_ms / 1000)

    def add_prediction(self, index: int, confidence: float, *, uncertain: bool) -> None:
        """Note what one image was taken for."""
        self._classes[index].inc()
        self._confidence.observe(confidence)
        if uncertain:
            self._uncertain.inc()

    def add_images(self, outcomes: Iterable[str]) -> None:
        """Note images that were not answered, by the code of the problem or `ABANDONED`."""
        for outcome in outcomes:
            self._images.labels(*self._labels, outcome).inc()
