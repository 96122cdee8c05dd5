"""What the server counts, for Prometheus; names end in their unit, and no label holds a text."""

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from headgate.decision import Decision
from headgate.runtime.worker import Worker
from headgate.scores import Scores
from headgate.verdict import Verdict

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Meter:
    """All counters of one application, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = r = CollectorRegistry()
        self._requests = Counter(
            "headgate_requests", "Requests by dialect and status.", ["dialect", "status"], registry=r
        )
        self._seconds = Histogram(
            "headgate_request_seconds", "Seconds to the end of a reply.", ["dialect"], registry=r, buckets=SECONDS
        )
        self._under_way = Gauge("headgate_requests_under_way", "Requests that have no answer yet.", registry=r)
        self.streams = Gauge("headgate_streams", "Guarded streams that are open.", registry=r)
        self._refused = Counter("headgate_refused", "Requests refused with 429, by what was full.", ["why"], registry=r)
        self._texts = Counter("headgate_texts", "Texts that were read.", ["model"], registry=r)
        self._tokens = Counter("headgate_tokens", "Tokens of these texts.", ["model"], registry=r)
        self._windows = Counter("headgate_windows", "Windows that they were read in.", ["model"], registry=r)
        self._verdicts = Counter(
            "headgate_verdicts", "Texts a guard judged, by broken rule; (none) passed.", ["guard", "rule"], registry=r
        )
        self._decisions = Counter(
            "headgate_decisions", "Texts a router judged, by route; (none) got none.", ["router", "route"], registry=r
        )
        self._reloads = Counter("headgate_reloads", "Reloads of the file, by how they ended.", ["outcome"], registry=r)

    def watch(self, worker: Worker) -> None:
        """Tell what waits for this worker, and how full its batches are."""
        self.registry.register(_Batches(worker))

    def began(self) -> None:
        """A request came."""
        self._under_way.inc()

    def ended(self, dialect: str, status: int, seconds: float) -> None:
        """Its reply was sent."""
        self._under_way.dec()
        self._requests.labels(dialect, str(status)).inc()
        self._seconds.labels(dialect).observe(seconds)

    def refused(self, why: str) -> None:
        """A request was refused because this was full."""
        self._refused.labels(why).inc()

    def read(self, model: str, scores: Iterable[Scores]) -> int:
        """Count what was read; the tokens of all texts."""
        tokens = 0
        for found in scores:
            tokens += (mine := int(found.tokens.sum()))
            self._texts.labels(model).inc(len(found.tokens))
            self._tokens.labels(model).inc(mine)
            self._windows.labels(model).inc(int(found.windows.max(axis=1).sum()) if found.windows.size else 0)
        return tokens

    def judged(self, guard: str, verdicts: Sequence[Verdict]) -> None:
        """Count verdicts by rule."""
        for verdict in verdicts:
            for rule in verdict.broken or ("(none)",):
                self._verdicts.labels(guard, rule).inc()

    def routed(self, router: str, decisions: Sequence[Decision]) -> None:
        """Count decisions by route."""
        for decision in decisions:
            for route in decision.choices or ("(none)",):
                self._decisions.labels(router, route).inc()

    def reloaded(self, outcome: str) -> None:
        """Count a reload: "ok" or "failed"."""
        self._reloads.labels(outcome).inc()

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)


class _Batches(Collector):
    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def collect(self) -> Iterator[Metric]:
        load = self._worker.load
        yield GaugeMetricFamily("headgate_queue_requests", "Calls that wait for the device.", load.waiting)
        yield GaugeMetricFamily("headgate_queue_tokens", "Tokens that wait for the device.", load.tokens)
        yield CounterMetricFamily("headgate_batches", "Batches that were run.", load.batches)
        yield CounterMetricFamily("headgate_batch_tokens", "Tokens in them, without padding.", load.batched)
        yield CounterMetricFamily("headgate_batch_room_tokens", "Tokens that they had room for.", load.room)
