"""Challenges, tokens, and where a password may go."""

import asyncio
import base64
import json
from typing import Any
from urllib.parse import parse_qs

import pytest

from havre.errors import NotFound, Unauthorized, Unavailable
from havre.registry.auth import Credentials, Tokens, may_send, parse_challenges
from havre.registry.client import Client
from havre.registry.origin import origin_of
from havre.registry.transport import Pool
from havre.registry.trust import Trust
from havre.spec import reference as references

CREDENTIALS = Credentials("ann", "s3cret")
BASIC = CREDENTIALS.basic()


def test_challenges_are_read_from_one_or_several_headers() -> None:
    found = parse_challenges(
        [
            'Bearer realm="https://a/t",service="s, x",scope="repository:a:pull,push", Basic realm="b"',
            "Digest x=y",
            "BASIC",
        ]
    )
    assert [one.scheme for one in found] == ["bearer", "basic", "basic"]
    assert found[0].words == {"realm": "https://a/t", "service": "s, x", "scope": "repository:a:pull,push"}


@pytest.mark.parametrize(
    ("registry", "realm", "expected"),
    [
        ("https://r.example", "https://auth.example", True),
        ("https://r.example", "https://r.example", True),
        ("https://r.example", "http://r.example", False),
        ("https://r.example", "http://auth.example", False),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5001", True),
        ("http://127.0.0.1:5000", "http://127.0.0.2:5001", False),
        ("http://r.lan", "https://auth.lan", True),
    ],
)
def test_credentials_go_only_where_they_may(registry: str, realm: str, expected: bool) -> None:
    assert may_send(CREDENTIALS, origin_of(registry), origin_of(realm)) is expected
    assert not may_send(None, origin_of(registry), origin_of(realm))


def test_secrets_are_not_in_repr() -> None:
    shown = repr(Credentials("ann", "pass-word", "identity-token", "registry-token"))
    assert "ann" in shown
    assert not any(secret in shown for secret in ("pass-word", "identity-token", "registry-token"))


def guarded(shop: Any, reply: Any, realm: str, token: str = "good") -> Any:
    """Answer like a registry that wants a bearer token of `realm`."""

    def answer(asked: Any) -> Any:
        if asked.headers.get("authorization") != f"Bearer {token}":
            words = f'Bearer realm="{realm}",service="reg",scope="repository:other/secret:pull,push"'
            return reply(401, b"", {"WWW-Authenticate": words})
        return shop(asked)

    return answer


def test_token_is_fetched_for_our_own_scope_and_kept(
    stub: Any, shop: Any, reply: Any, make_layer: Any
) -> None:
    shop.image(make_layer({"a": b"1"}), tag="1")

    async def scenario() -> tuple[Any, Any]:
        give = reply(200, b'{"token":"good","expires_in":300}')
        async with stub(lambda asked: give) as realm, stub(lambda asked: None) as registry:
            registry.handler = guarded(shop, reply, f"http://{realm.name}/token?x=1")
            client = Client()
            reference = references.parse(f"{registry.name}/a/b:1")
            await client.manifest(reference, CREDENTIALS)
            await client.manifest(reference, CREDENTIALS)
            with pytest.raises(NotFound):
                await client.manifest(reference.with_tag("2"), CREDENTIALS)
            client.close()
            return realm.asked, registry.asked

    realm, registry = asyncio.run(scenario())
    assert len(realm) == 1 and [one.path.rpartition("/")[2] for one in registry] == ["", "1", "1", "1", "2"]
    query = parse_qs(realm[0].target.partition("?")[2])
    assert query == {"x": ["1"], "service": ["reg"], "scope": ["repository:a/b:pull"], "account": ["ann"]}
    assert realm[0].headers["authorization"] == BASIC
    assert not any(asked.headers.get("authorization") == BASIC for asked in registry)


def test_other_credentials_get_another_token(stub: Any, shop: Any, reply: Any, make_layer: Any) -> None:
    shop.image(make_layer({"a": b"1"}), tag="1")

    def give(asked: Any) -> Any:
        good = asked.headers.get("authorization") == BASIC
        return reply(200, b'{"token":"good"}') if good else reply(401)

    async def scenario() -> None:
        async with stub(give) as realm, stub(lambda asked: None) as registry:
            registry.handler = guarded(shop, reply, f"http://{realm.name}/token")
            client = Client()
            reference = references.parse(f"{registry.name}/a/b:1")
            await client.manifest(reference, CREDENTIALS)
            with pytest.raises(Unauthorized, match="incorrect username or password"):
                await client.manifest(reference, Credentials("ann", "wrong"))
            with pytest.raises(Unauthorized, match="authentication required"):
                await client.manifest(reference, None)
            client.close()

    asyncio.run(scenario())


def test_identity_token_is_posted(stub: Any, shop: Any, reply: Any, make_layer: Any) -> None:
    shop.image(make_layer({"a": b"1"}), tag="1")

    async def scenario() -> Any:
        give = reply(200, b'{"access_token":"good"}')
        async with stub(lambda asked: give) as realm, stub(lambda asked: None) as registry:
            registry.handler = guarded(shop, reply, f"http://{realm.name}/token")
            client = Client()
            await client.manifest(
                references.parse(f"{registry.name}/a/b:1"), Credentials(identity_token="id-token")
            )
            client.close()
            return realm.asked

    (asked,) = asyncio.run(scenario())
    assert asked.method == "POST" and "id-token" not in asked.target
    form = parse_qs(asked.body.decode())
    assert form["refresh_token"] == ["id-token"] and form["grant_type"] == ["refresh_token"]
    assert form["scope"] == ["repository:a/b:pull"]


def test_foreign_realm_in_plain_http_gets_no_password(stub: Any, shop: Any, reply: Any) -> None:
    async def scenario() -> Any:
        give = reply(200, b'{"token":"t"}')
        async with stub(lambda asked: give, host="127.0.0.2") as thief, stub(lambda asked: None) as registry:
            registry.handler = guarded(shop, reply, f"http://{thief.name}/token")
            client = Client()
            for credentials in (CREDENTIALS, Credentials(identity_token="id-token")):
                with pytest.raises(NotFound, match="pull access denied"):
                    await client.manifest(references.parse(f"{registry.name}/a/b:1"), credentials)
            client.close()
            return thief.asked

    asked = asyncio.run(scenario())
    assert asked
    for one in asked:
        sent = one.target + str(one.headers) + one.body.decode()
        assert not any(word in sent for word in ("s3cret", "id-token", "uthorization", BASIC[6:]))


def test_redirecting_realm_is_not_followed(stub: Any, shop: Any, reply: Any) -> None:
    async def scenario() -> Any:
        async with stub(lambda asked: reply(200, b'{"token":"t"}')) as thief:
            away = {"Location": f"http://{thief.name}/token"}
            async with (
                stub(lambda asked: reply(307, b"", away)) as realm,
                stub(lambda asked: None) as registry,
            ):
                registry.handler = guarded(shop, reply, f"http://{realm.name}/token")
                client = Client()
                with pytest.raises(Unavailable, match="answered 307"):
                    await client.manifest(references.parse(f"{registry.name}/a/b:1"), CREDENTIALS)
                client.close()
                return thief.asked

    assert asyncio.run(scenario()) == []


@pytest.mark.parametrize(
    "answer",
    [b"", b"[]", b"{}", b'{"token":5}', b'{"token":"a\\r\\nX: y"}', b"x" * (2 << 20), b'{"token":"\\u4e2d"}'],
)
def test_damaged_token_is_a_clear_error(stub: Any, shop: Any, reply: Any, answer: bytes) -> None:
    async def scenario() -> None:
        async with stub(lambda asked: reply(200, answer)) as realm, stub(lambda asked: None) as registry:
            registry.handler = guarded(shop, reply, f"http://{realm.name}/token")
            client = Client()
            with pytest.raises(Unavailable):
                await client.manifest(references.parse(f"{registry.name}/a/b:1"), CREDENTIALS)
            client.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("life", ["1e999", "-5", '"x"', "null", "NaN"])
def test_strange_lifetimes_become_sound_ones(stub: Any, reply: Any, life: str) -> None:
    async def scenario() -> float:
        async with stub(lambda asked: reply(200, f'{{"token":"t","expires_in":{life}}}'.encode())) as realm:
            pool = Pool(Trust())
            challenge = parse_challenges([f'Bearer realm="http://{realm.name}/"'])[0]
            token = await Tokens(pool).fetch(origin_of("http://127.0.0.1:1"), challenge, (), None)
            pool.close()
            return token.life_s

    assert 60 <= asyncio.run(scenario()) <= 3600


def test_unknown_scheme_is_named(stub: Any, reply: Any) -> None:
    async def scenario() -> None:
        async with stub(lambda asked: reply(401, b"", {"WWW-Authenticate": "Negotiate"})) as registry:
            client = Client()
            with pytest.raises(Unauthorized, match="kind of authentication"):
                await client.manifest(references.parse(f"{registry.name}/a/b:1"), CREDENTIALS)
            client.close()

    asyncio.run(scenario())


def test_login_returns_the_identity_token(stub: Any, shop: Any, reply: Any) -> None:
    gift = json.dumps({"token": "t", "refresh_token": "for-later"}).encode()

    async def scenario() -> tuple[str, Any]:
        async with stub(lambda asked: reply(200, gift)) as realm, stub(lambda asked: None) as registry:
            registry.handler = guarded(shop, reply, f"http://{realm.name}/token")
            client = Client()
            found = await client.check_login(registry.name, "ann", "s3cret")
            client.close()
            return found, realm.asked

    token, asked = asyncio.run(scenario())
    assert token == "for-later"
    assert "offline_token=true" in asked[0].target
    assert base64.b64decode(asked[0].headers["authorization"][6:]) == b"ann:s3cret"
