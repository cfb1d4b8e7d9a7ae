"""What a registry shows, in a form that can be compared with a recording."""

from __future__ import annotations

from prometheus_client import CollectorRegistry


def collected(registry: CollectorRegistry) -> dict[str, tuple[str, set[str], list[float]]]:
    """Name in the exposition -> type, labels, bucket bounds."""
    found: dict[str, tuple[str, set[str], list[float]]] = {}
    for family in registry.collect():
        samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
        labels = {label for sample in samples for label in sample.labels} - {"le"}
        bounds = sorted({float(sample.labels["le"]) for sample in samples if "le" in sample.labels})
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found[name] = (family.type, labels, bounds)
    return found
