import asyncio
import base64
import io
import json
import threading
from types import SimpleNamespace

import pytest

from havre.api import images
from havre.errors import InvalidParameter, NoSuchImage, Unavailable


@pytest.fixture
def pulled(monkeypatch) -> list[tuple[object, ...]]:
    """What pull was called with; it reports two steps."""
    calls: list[tuple[object, ...]] = []

    async def pull(rooms, name, tag, *, platform, auth, progress) -> None:
        calls.append((name, tag, platform, auth))
        progress({"status": "one"})
        await asyncio.sleep(0)
        progress({"status": "two"})

    monkeypatch.setattr(images.images, "pull", pull)
    return calls


def test_pull_streams_its_progress(ask, pulled) -> None:
    answer = ask("POST", "/images/create?fromImage=127.0.0.1:5000/a/b&tag=1&platform=linux/arm64")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.lines() == [{"status": "one"}, {"status": "two"}]
    assert pulled == [("127.0.0.1:5000/a/b", "1", "linux/arm64", {})]


def test_registry_auth_is_read_with_and_without_padding(ask, pulled) -> None:
    data = base64.urlsafe_b64encode(
        json.dumps({"Username": "u", "password": "p?>", "x": None}).encode()
    ).decode()
    for text in (data, data.rstrip("="), "e30="):
        ask("POST", "/images/create?fromImage=a", X_Registry_Auth=text)
    full = {"username": "u", "password": "p?>", "x": None}
    assert [call[3] for call in pulled] == [full, full, {}]


@pytest.mark.parametrize("text", ["%%%", "bm90IGpzb24=", "WzFd"])
def test_bad_registry_auth_is_refused(ask, pulled, text: str) -> None:
    assert ask("POST", "/images/create?fromImage=a", X_Registry_Auth=text).status == 400
    assert not pulled


def test_errors_before_the_first_step_have_a_status(ask, monkeypatch) -> None:
    async def pull(rooms, *args, **kwargs) -> None:
        raise NoSuchImage("a:b")

    monkeypatch.setattr(images.images, "pull", pull)
    answer = ask("POST", "/images/create?fromImage=a")
    assert (answer.status, answer.message) == (404, "No such image: a:b")


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (Unavailable("registry is away"), 503, "registry is away"),
        (RuntimeError("x"), 500, "internal error: RuntimeError('x')"),
    ],
)
def test_errors_after_it_stand_in_the_stream(
    ask, monkeypatch, error: Exception, code: int, text: str
) -> None:
    async def pull(rooms, *args, progress, **kwargs) -> None:
        progress({"status": "begun"})
        await asyncio.sleep(0.01)
        raise error

    monkeypatch.setattr(images.images, "pull", pull)
    answer = ask("POST", "/images/create?fromImage=a")
    assert answer.status == 200
    assert answer.lines() == [
        {"status": "begun"},
        {"errorDetail": {"code": code, "message": text}, "error": text},
    ]


def test_names_with_slashes_and_ports_are_found(ask, rooms) -> None:
    seen = []

    def inspect(ref: str) -> dict[str, object]:
        seen.append(ref)
        return {"Id": "x", "VirtualSize": 1}

    rooms.images = SimpleNamespace(inspect=inspect)
    for name in ("127.0.0.1:5057/ha/bb", "json", "a/json", "a/json/json", "a%2Fb"):
        assert ask("GET", f"/images/{name}/json").status == 200
    assert seen == ["127.0.0.1:5057/ha/bb", "json", "a/json", "a/json/json", "a/b"]


@pytest.mark.parametrize(("version", "there"), [("1.43", True), ("1.44", False), ("", False)])
def test_old_clients_get_the_virtual_size(ask, rooms, monkeypatch, version: str, there: bool) -> None:
    rooms.images = SimpleNamespace(inspect=lambda ref: {"Id": "x", "VirtualSize": 1})
    monkeypatch.setattr(images.images, "listed", lambda *args, **kwargs: [{"Id": "x", "VirtualSize": 1}])
    assert ("VirtualSize" in ask("GET", "/images/a/json", version=version).json()) is there
    assert ("VirtualSize" in ask("GET", "/images/json", version=version).json()[0]) is there


def test_load_reads_the_body_as_a_file(ask, monkeypatch) -> None:
    async def load(rooms, file, progress) -> list[str]:
        data = await asyncio.get_running_loop().run_in_executor(None, file.read)
        progress({"stream": f"Loaded {len(data)}\n"})
        return []

    monkeypatch.setattr(images.images, "load", load)
    answer = ask("POST", "/images/load", bytes(3_000_000), Content_Type="application/x-tar")
    assert answer.lines() == [{"stream": "Loaded 3000000\n"}]


def test_load_that_gives_up_early_is_answered(ask, monkeypatch) -> None:
    async def load(rooms, file, progress) -> list[str]:
        await asyncio.get_running_loop().run_in_executor(None, file.read, 10)
        raise InvalidParameter("that is no archive")

    monkeypatch.setattr(images.images, "load", load)
    answer = ask("POST", "/images/load", bytes(3_000_000), Content_Type="application/x-tar")
    assert (answer.status, answer.message) == (400, "that is no archive")


def test_save_sends_what_is_written(ask, rooms, monkeypatch) -> None:
    rooms.images = SimpleNamespace(check_saved=lambda names: None)
    asked = []

    async def save(rooms, names, file) -> None:
        asked.append(names)
        await asyncio.get_running_loop().run_in_executor(None, file.write, bytes(3_000_000))

    monkeypatch.setattr(images.images, "save", save)
    assert len(ask("GET", "/images/get?names=a&names=b/c:1").body) == 3_000_000
    assert len(ask("GET", "/images/b/c:1/get").body) == 3_000_000
    assert asked == [["a", "b/c:1"], ["b/c:1"]]
    assert ask("GET", "/images/get").status == 400


def test_save_of_what_is_not_there_has_a_status(ask, rooms) -> None:
    def check_saved(names: list[str]) -> None:
        raise NoSuchImage(names[0])

    rooms.images = SimpleNamespace(check_saved=check_saved)
    assert ask("GET", "/images/nope/get").status == 404


def test_save_that_fails_half_way_is_no_whole_answer(ask, rooms, monkeypatch) -> None:
    rooms.images = SimpleNamespace(check_saved=lambda names: None)

    async def save(rooms, names, file) -> None:
        await asyncio.get_running_loop().run_in_executor(None, file.write, b"begun")
        raise Unavailable("a layer has gone")

    monkeypatch.setattr(images.images, "save", save)
    with pytest.raises(EOFError):  # the last chunk is missing
        ask("GET", "/images/a/get")


def test_import_passes_its_words_on(ask, monkeypatch) -> None:
    asked = []

    async def import_(rooms, file, target, *, changes, message, platform) -> str:
        data = await asyncio.get_running_loop().run_in_executor(None, file.read)
        asked.append((data, target, changes, message, platform))
        return "sha256:new"

    monkeypatch.setattr(images.images, "import_", import_)
    path = "/images/create?fromSrc=-&repo=a&tag=b&changes=CMD+x&changes=ENV+a%3D1&message=hi&platform=linux"
    assert ask("POST", path, b"tar", Content_Type="text/plain").lines() == [{"status": "sha256:new"}]
    assert asked == [(b"tar", "a:b", ["CMD x", "ENV a=1"], "hi", "linux")]
    assert ask("POST", "/images/create?fromSrc=http://x/y").status == 501


def test_import_of_a_cut_body_fails(tmp_path) -> None:
    """The reading thread must see an error, not an end."""
    from havre.api.pipes import with_body

    class Cut:
        async def chunks(self):
            yield b"half"
            raise InvalidParameter("the request body was cut short")

    async def work(file: io.BufferedReader) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(None, file.read)

    with pytest.raises(InvalidParameter, match="cut short"):
        asyncio.run(with_body(Cut(), work))


def test_work_on_a_body_ends_when_the_caller_is_cancelled() -> None:
    from havre.api.pipes import with_body

    ended = threading.Event()

    class Silent:
        async def chunks(self):
            yield b"half"
            await asyncio.sleep(60)

    def read(file: io.BufferedReader) -> None:
        try:
            file.read()
        finally:
            ended.set()

    async def run() -> None:
        task = asyncio.ensure_future(
            with_body(Silent(), lambda file: asyncio.get_running_loop().run_in_executor(None, read, file))
        )
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await asyncio.get_running_loop().run_in_executor(None, ended.wait, 10)

    asyncio.run(asyncio.wait_for(run(), 15))
