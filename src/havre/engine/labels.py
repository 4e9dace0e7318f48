"""The filters label and label! of every prune and list. Pure."""

from collections.abc import Mapping, Sequence

Filters = Mapping[str, Sequence[str]]


def labels_pass(labels: Mapping[str, str], filters: Filters) -> bool:
    """Whether labels have all that `label` asks for and nothing of `label!`."""
    return all(_has(labels, value) for value in filters.get("label", ())) and not any(
        _has(labels, value) for value in filters.get("label!", ())
    )


def _has(labels: Mapping[str, str], value: str) -> bool:
    name, equals, wanted = value.partition("=")
    return name in labels and (not equals or labels[name] == wanted)
