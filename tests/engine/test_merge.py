"""The caller's words against the image's."""

import pytest

from havre.engine.merge import full_env, merge_config, merge_env
from havre.errors import InvalidParameter
from havre.spec.engine import ContainerConfig, ContainerCreate, HealthConfig

IMAGE = {
    "Env": ["PATH=/bin", "A=1"],
    "Entrypoint": ["/init"],
    "Cmd": ["serve"],
    "Labels": {"l": "image"},
    "User": "www",
}


def test_image_command_is_used_when_nothing_is_given() -> None:
    config = merge_config(ContainerCreate(image="x"), IMAGE)
    assert (config.entrypoint, config.cmd, config.user) == (["/init"], ["serve"], "www")


def test_entrypoint_of_the_caller_drops_the_images_cmd() -> None:
    config = merge_config(ContainerCreate(image="x", entrypoint=["sh"]), IMAGE)
    assert (config.entrypoint, config.cmd) == (["sh"], None)


def test_empty_entrypoint_clears_it_but_needs_a_command() -> None:
    config = merge_config(ContainerCreate(image="x", entrypoint=[""], cmd=["ls"]), IMAGE)
    assert (config.entrypoint, config.cmd) == (None, ["ls"])
    with pytest.raises(InvalidParameter, match="no command specified"):
        merge_config(ContainerCreate(image="x"), {})


def test_env_is_replaced_in_place_appended_and_removed() -> None:
    assert merge_env(["A=1", "B=2"], ["A=3", "C=4", "B"]) == ["A=3", "C=4"]
    with pytest.raises(InvalidParameter):
        merge_env([], ["=x"])


def test_the_callers_variables_stand_before_the_images() -> None:
    config = merge_config(ContainerCreate(image="x", env=["B=2", "PATH"]), IMAGE)
    assert config.env == ["B=2", "PATH", "A=1"]
    assert full_env(config, False)[1:] == ["B=2", "A=1"]
    with pytest.raises(InvalidParameter, match="'=x'"):
        merge_config(ContainerCreate(image="x", env=["=x"]), IMAGE)


def test_labels_and_health_fields_are_united() -> None:
    body = ContainerCreate(image="x", labels={"m": "1"}, healthcheck=HealthConfig(retries=5))
    config = merge_config(body, {**IMAGE, "Healthcheck": {"Test": ["CMD", "true"], "Retries": 3}})
    assert config.labels == {"l": "image", "m": "1"}
    assert config.healthcheck == HealthConfig(test=["CMD", "true"], retries=5)


def test_full_env_has_dockers_own_variables_first() -> None:
    env = full_env(ContainerConfig(hostname="h", env=["PATH=/x"]), True)
    assert env == ["PATH=/x", "HOSTNAME=h", "TERM=xterm"]
