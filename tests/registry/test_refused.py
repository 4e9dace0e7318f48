"""A registry's refusals in Docker's words."""

import json

import pytest

from havre.registry.refused import refusal
from havre.spec import reference as references

NAME = references.parse("example.com/a/b:1")


def body(code: str, message: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message}]}).encode()


@pytest.mark.parametrize(
    ("status", "said", "http", "text"),
    [
        (401, b"", 404, "pull access denied for example.com/a/b, repository does not exist or may require 'docker login': "),
        (403, body("DENIED", "requested access to the resource is denied"), 404, "'docker login': denied: requested access"),
        (404, body("MANIFEST_UNKNOWN", "manifest unknown"), 404, "manifest for example.com/a/b:1 not found: manifest unknown: manifest unknown"),
        (404, b"<html>", 404, "manifest for example.com/a/b:1 not found: manifest unknown"),
        (404, body("NAME_UNKNOWN", "repository name not known to registry"), 404, "repository example.com/a/b not found: name unknown: repository name not"),
        (429, body("TOOMANYREQUESTS", "You have reached your pull rate limit."), 503, "toomanyrequests: You have reached your pull rate limit."),
        (429, b"", 503, "rate limit"),
        (500, b"[]", 503, "example.com answered 500"),
        (400, body("NAME_INVALID", "x\x1b[31m\ny"), 400, "name invalid: x[31my"),
    ],
)  # fmt: skip
def test_refusal_says_what_docker_says(status: int, said: bytes, http: int, text: str) -> None:
    found = refusal(status, said, NAME)
    assert found.status == http
    assert text in str(found)


def test_refusal_of_a_push_keeps_401_and_403_apart() -> None:
    assert refusal(401, b"", NAME, pushing=True).status == 401
    assert refusal(403, b"", NAME, pushing=True).status == 403
    assert "denied: requested access to the resource is denied" in str(refusal(403, b"", NAME, pushing=True))


def test_refusal_is_bounded() -> None:
    assert len(str(refusal(500, body("X", "y" * 100_000), NAME))) < 500
