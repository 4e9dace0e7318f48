"""The filters label and label! of every prune and list. Pure."""

from collections.abc import Mapping, Sequence

Filters = Mapping[str, Sequence[str]]


def labels_pass(labels: Mapping[str, str], filters: Filters) -> bool:
    """Whether labels have all that `label` asks for and nothing of `label!`."""
    return all(has(labels, value) for value in filters.get("label", ())) and not any(
        has(labels, value) for value in filters.get("label!", ())
    )


def has(labels: Mapping[str, str], value: str) -> bool:
    """Whether labels have what one "NAME" or "NAME=value" asks for."""
    name, equals, wanted = value.partition("=")
    return name in labels and (not equals or labels[name] == wanted)
