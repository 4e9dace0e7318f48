"""Who may do what: htpasswd, and tokens of the built-in issuer."""

import base64
import os
import time

import bcrypt
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

REALM = "http://127.0.0.1/token"


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def htpasswd(folder, **users: str) -> str:
    path = folder / "htpasswd"
    lines = [
        f"{user}:{bcrypt.hashpw(word.encode(), bcrypt.gensalt(4)).decode()}" for user, word in users.items()
    ]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_without_good_credentials_nothing_is_said(serve, tmp_path) -> None:
    server = serve(auth={"htpasswd": {"realm": 'a "realm"', "path": htpasswd(tmp_path, ann="s3cret")}})
    for given in ({}, {"Authorization": basic("ann", "wrong")}, {"Authorization": basic("eve", "s3cret")},
                  {"Authorization": "Basic ###"}, {"Authorization": "Bearer x"}):  # fmt: skip
        for path in ("/v2/", "/v2/_catalog", "/v2/a/tags/list", "/v2/a/manifests/x"):
            answer = server.ask("GET", path, **given)
            assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
            assert answer.headers["www-authenticate"] == 'Basic realm="a realm"'
    assert server.ask("POST", "/v2/a/blobs/uploads/").status == 401
    assert server.files() == set()
    assert server.ask("GET", "/v2/", Authorization=basic("ann", "s3cret")).status == 200


def test_a_changed_password_holds_at_once(serve, tmp_path) -> None:
    server = serve(auth={"htpasswd": {"realm": "x", "path": htpasswd(tmp_path, ann="old")}})
    assert server.ask("GET", "/v2/", Authorization=basic("ann", "old")).status == 200
    os.utime(htpasswd(tmp_path, ann="new"), (time.time() + 9, time.time() + 9))
    assert server.ask("GET", "/v2/", Authorization=basic("ann", "old")).status == 401
    assert server.ask("GET", "/v2/", Authorization=basic("ann", "new")).status == 200


@pytest.fixture
def guarded(serve, tmp_path):
    rules = [
        {"users": ["*"], "repositories": ["public/*"], "actions": ["pull"]},
        {"users": ["ann"], "repositories": ["ann/*", "catalog"], "actions": ["*"]},
    ]
    builtin = {"htpasswd": htpasswd(tmp_path, ann="s3cret"), "rules": rules}
    return serve(auth={"token": {"realm": REALM, "service": "here", "issuer": "us", "builtin": builtin}})


def token(server, scope: str, **headers: str) -> dict[str, str]:
    answer = server.ask("GET", f"/token?service=here&scope={scope}", **headers)
    assert answer.status == 200
    return {"Authorization": "Bearer " + answer.json["token"]}


def test_the_challenge_names_the_scope(guarded) -> None:
    answer = guarded.ask("POST", "/v2/ann/x/blobs/uploads/")
    assert (
        answer.headers["www-authenticate"]
        == f'Bearer realm="{REALM}",service="here",scope="repository:ann/x:pull,push"'
    )
    assert guarded.ask("GET", "/v2/").headers["www-authenticate"] == f'Bearer realm="{REALM}",service="here"'


def test_a_token_opens_what_the_rules_give_and_no_more(guarded) -> None:
    ann = {"Authorization": basic("ann", "s3cret")}
    own = token(guarded, "repository:ann/x:pull,push", **ann)
    assert guarded.ask("POST", "/v2/ann/x/blobs/uploads/", **own).status == 202
    assert guarded.ask("POST", "/v2/ann/y/blobs/uploads/", **own).status == 401
    digest = "sha256:" + "0" * 64
    refused = guarded.ask("DELETE", f"/v2/ann/x/blobs/{digest}", **own)
    assert (refused.status, 'error="insufficient_scope"' in refused.headers["www-authenticate"]) == (
        401,
        True,
    )
    assert (
        guarded.ask(
            "DELETE", f"/v2/ann/x/blobs/{digest}", **token(guarded, "repository:ann/x:delete", **ann)
        ).status
        == 404
    )
    anonymous = token(guarded, "repository:public/x:pull,push")
    assert guarded.ask("GET", "/v2/public/x/tags/list", **anonymous).status == 404
    assert guarded.ask("POST", "/v2/public/x/blobs/uploads/", **anonymous).status == 401
    assert (
        guarded.ask("GET", "/token?scope=repository:ann/x:pull", Authorization=basic("ann", "no")).status
        == 401
    )


def test_a_blob_is_never_mounted_from_where_the_client_may_not_read(guarded) -> None:
    ann = {"Authorization": basic("ann", "s3cret")}
    own = token(guarded, "repository:ann/x:pull,push", **ann)
    import hashlib

    digest = "sha256:" + hashlib.sha256(b"secret").hexdigest()
    assert guarded.ask("POST", f"/v2/ann/x/blobs/uploads/?digest={digest}", b"secret", **own).status == 201
    other = token(guarded, "repository:ann/y:pull,push", **ann)
    for source in ("&from=ann/x", ""):
        assert guarded.ask("POST", f"/v2/ann/y/blobs/uploads/?mount={digest}{source}", **other).status == 202
    both = token(guarded, "repository:ann/y:pull,push&scope=repository:ann/x:pull", **ann)
    assert guarded.ask("POST", f"/v2/ann/y/blobs/uploads/?mount={digest}&from=ann/x", **both).status == 201


@pytest.mark.parametrize(
    "change", [{"aud": "there"}, {"iss": "them"}, {"exp": 1}, {"exp": None}, {"access": "x"}, "key", "none"]
)
def test_a_token_that_is_not_ours_opens_nothing(guarded, change) -> None:
    now = int(time.time())
    access = [{"type": "repository", "name": "a", "actions": ["pull", "push"]}]
    claims = {"iss": "us", "aud": "here", "exp": now + 60, "access": access}
    key = (guarded.root / "data" / "token-key.pem").read_bytes()
    sign: dict = {"key": key, "algorithm": "ES256"}
    good = jwt.encode(claims, **sign)
    assert guarded.ask("GET", "/v2/a/tags/list", Authorization=f"Bearer {good}").status == 404
    if change == "key":
        sign["key"] = ec.generate_private_key(ec.SECP256R1())
    elif change == "none":
        sign = {"key": None, "algorithm": "none"}
    else:
        claims = {name: value for name, value in {**claims, **change}.items() if value is not None}
    answer = guarded.ask("GET", "/v2/a/tags/list", Authorization=f"Bearer {jwt.encode(claims, **sign)}")
    assert answer.status == 401


def test_the_issuers_key_is_kept_and_nobody_elses_to_read(guarded) -> None:
    path = guarded.root / "data" / "token-key.pem"
    before = path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0
    ann = token(guarded, "repository:ann/x:pull", Authorization=basic("ann", "s3cret"))
    guarded.kill()
    guarded.start()
    assert path.read_bytes() == before
    assert guarded.ask("GET", "/v2/ann/x/tags/list", **ann).status == 404
