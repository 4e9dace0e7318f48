"""What a log says of its container: attributes from labels and environment, and the tag."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from havre.errors import InvalidParameter
from havre.logs import tag as tags


@dataclass(frozen=True, slots=True)
class Subject:
    """The container whose output is logged: dockerd's logger.Info."""

    id: str
    name: str  # without the slash
    entrypoint: str
    args: tuple[str, ...]
    image_id: str
    image_name: str
    created: str  # RFC 3339
    env: tuple[str, ...]
    labels: Mapping[str, str]

    @property
    def command(self) -> str:
        return " ".join((self.entrypoint, *self.args))


def attributes(subject: Subject, options: Mapping[str, str]) -> dict[str, str]:
    """The labels and variables that `labels`, `env` and their -regex forms choose. Raises InvalidParameter."""
    env = dict(entry.partition("=")[::2] for entry in subject.env if "=" in entry)
    return {
        **_chosen(subject.labels, options, "labels"),
        **_chosen(env, options, "env"),
    }


def _chosen(values: Mapping[str, str], options: Mapping[str, str], name: str) -> dict[str, str]:
    found = {key: values[key] for key in options.get(name, "").split(",") if key in values}
    if pattern := options.get(f"{name}-regex", ""):
        try:
            wanted = re.compile(pattern)
        except re.error as error:
            raise InvalidParameter(f"error parsing regexp: {error}: `{pattern}`") from None
        found.update({key: value for key, value in values.items() if wanted.search(key)})
    return found


def tag(subject: Subject, options: Mapping[str, str], default: str) -> str:
    """The tag, rendered; `default` is the template when none is given. Raises InvalidParameter."""
    return tags.render(options.get("tag") or default, fields(subject, options))


def fields(subject: Subject, options: Mapping[str, str]) -> dict[str, object]:
    """What a tag's template can name: the fields and methods of dockerd's logger.Info."""
    return {
        "ID": subject.id[:12],
        "FullID": subject.id,
        "Name": subject.name,
        "ImageID": subject.image_id[:12],
        "ImageFullID": subject.image_id,
        "ImageName": subject.image_name,
        "Command": subject.command,
        "DaemonName": "docker",
        "Config": dict(options),
        "ContainerID": subject.id,
        "ContainerName": f"/{subject.name}",
        "ContainerEntrypoint": subject.entrypoint,
        "ContainerArgs": list(subject.args),
        "ContainerImageID": subject.image_id,
        "ContainerImageName": subject.image_name,
        "ContainerCreated": subject.created,
        "ContainerEnv": list(subject.env),
        "ContainerLabels": dict(subject.labels),
    }
