import asyncio

import pytest

from havre.api import containers
from havre.engine.wait import WaitResult
from havre.errors import NotFound, NotModified


class Recorded:
    """An engine function that notes how it was called."""

    def __init__(self, answer: object = None) -> None:
        self.calls: list[tuple[tuple[object, ...], dict[str, object]]] = []
        self._answer = answer

    async def __call__(self, rooms: object, *args: object, **kwargs: object) -> object:
        self.calls.append((args, kwargs))
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


@pytest.mark.parametrize(
    ("path", "module", "function", "args", "kwargs"),
    [
        ("start", "start", "start", ("web",), {}),
        ("stop?t=3&signal=INT", "stop", "stop", ("web",), {"timeout_s": 3, "signal": "INT"}),
        ("stop", "stop", "stop", ("web",), {"timeout_s": None, "signal": ""}),
        ("restart?t=-1", "stop", "restart", ("web",), {"timeout_s": -1, "signal": ""}),
        ("kill?signal=9", "stop", "kill", ("web", "9"), {}),
        ("pause", "pause", "pause", ("web",), {}),
        ("unpause", "pause", "unpause", ("web",), {}),
        ("rename?name=new", "rename", "rename", ("web", "new"), {}),
    ],
)
def test_verbs_call_one_engine_function(ask, monkeypatch, path, module, function, args, kwargs) -> None:
    called = Recorded()
    monkeypatch.setattr(getattr(containers, module), function, called)
    answer = ask("POST", f"/containers/web/{path}")
    assert (answer.status, answer.body) == (204, b"")
    assert called.calls == [(args, kwargs)]


def test_starting_what_runs_is_not_modified(ask, monkeypatch) -> None:
    monkeypatch.setattr(containers.start, "start", Recorded(NotModified("it runs")))
    answer = ask("POST", "/containers/web/start")
    assert (answer.status, answer.body) == (304, b"")


def test_remove_takes_its_flags(ask, monkeypatch) -> None:
    called = Recorded()
    monkeypatch.setattr(containers.remove, "remove", called)
    assert ask("DELETE", "/containers/web?v=1&force=true").status == 204
    assert called.calls == [(("web",), {"force": True, "volumes": True})]
    assert ask("DELETE", "/containers/web?link=1").status == 400


def test_create_decodes_and_answers(ask, monkeypatch) -> None:
    from havre.engine.create import Created

    called = Recorded(Created("abc", ["careful"]))
    monkeypatch.setattr(containers.creating, "create", called)
    answer = ask("POST", "/containers/create?name=web&platform=linux/amd64", {"image": "x", "Cmd": ["a"]})
    assert (answer.status, answer.json()) == (201, {"Id": "abc", "Warnings": ["careful"]})
    ((body,), kwargs) = called.calls[0]
    assert (body.image, body.cmd) == ("x", ["a"])
    assert kwargs == {"name": "web", "platform": "linux/amd64"}


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""])
def test_only_json_is_taken_for_json(ask, kind: str) -> None:
    """A web page can send any other type without asking first."""
    answer = ask("POST", "/containers/create", {"Image": "x"}, Content_Type=kind)
    assert answer.status == 400
    assert answer.message == f"unsupported Content-Type header ({kind}): must be 'application/json'"


def test_json_with_a_charset_is_json(ask, monkeypatch) -> None:
    monkeypatch.setattr(containers.creating, "create", Recorded(NotFound("nothing")))
    answer = ask("POST", "/containers/create", {"Image": "x"}, Content_Type="Application/JSON; charset=utf-8")
    assert answer.status == 404


def test_large_bodies_are_refused(ask) -> None:
    assert ask("POST", "/containers/create", {"Image": "x" * (9 << 20)}).status == 413


def test_names_are_decoded_once(ask, monkeypatch) -> None:
    called = Recorded()
    monkeypatch.setattr(containers.start, "start", called)
    for path in ("..%2F..%2Fetc", "a%252Fb", "a%00b", "a%0Ab", "%FF"):
        ask("POST", f"/containers/{path}/start")
    assert [args[0] for args, _ in called.calls] == ["../../etc", "a%2Fb", "a\0b", "a\nb", "\ufffd"]


@pytest.mark.parametrize(("error", "extra"), [("", {}), ("no more", {"Error": {"Message": "no more"}})])
def test_wait_answers_with_the_code(ask, monkeypatch, error: str, extra: dict[str, object]) -> None:
    async def result() -> WaitResult:
        await asyncio.sleep(0.01)
        return WaitResult(3, error)

    monkeypatch.setattr(containers.wait, "wait", lambda rooms, ref, condition: result())
    answer = ask("POST", "/containers/web/wait?condition=removed")
    assert (answer.status, answer.json()) == (200, {"StatusCode": 3, **extra})
    assert answer.headers["transfer-encoding"] == "chunked"


def test_wait_for_what_is_not_there_has_a_status(ask, monkeypatch) -> None:
    def fail(rooms: object, ref: str, condition: str) -> None:
        raise NotFound("no such container: web")

    monkeypatch.setattr(containers.wait, "wait", fail)
    assert ask("POST", "/containers/web/wait").status == 404


def test_list_passes_everything_on(ask, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(
        containers.listing, "list_containers", lambda rooms, **asked: seen.append(asked) or []
    )
    assert ask("GET", "/containers/json?all=1&limit=2&filters={%22name%22:[%22a%22]}&before=x").json() == []
    assert seen == [{"all_": True, "limit": 2, "size": False, "filters": {"name": ["a"], "before": ["x"]}}]


def test_resize_checks_its_numbers(ask, monkeypatch) -> None:
    called = Recorded()
    monkeypatch.setattr(containers.resize, "resize", called)
    assert ask("POST", "/containers/web/resize?h=24&w=80").status == 200
    assert called.calls == [(("web", 24, 80), {})]
    assert ask("POST", "/containers/web/resize?h=24&w=70000").status == 400
