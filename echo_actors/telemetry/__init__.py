"""An engine watched from outside: spans and metrics for OpenTelemetry, text for Prometheus, parts for structlog."""

from echo_actors.telemetry.logs import fields_of, mask_texts, tell_about, utc_time
from echo_actors.telemetry.metric import Definition, Distribution, Kind, Metric, Point
from echo_actors.telemetry.prometheus import CONTENT_TYPE, prometheus_text
from echo_actors.telemetry.telemetry import Providers

__all__ = [
    "CONTENT_TYPE",
    "Definition",
    "Distribution",
    "Kind",
    "Metric",
    "Point",
    "Providers",
    "fields_of",
    "mask_texts",
    "prometheus_text",
    "tell_about",
    "utc_time",
]
