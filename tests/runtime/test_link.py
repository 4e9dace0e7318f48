import asyncio

import pytest

pytestmark = pytest.mark.kernel


def test_output_and_code_arrive_when_a_container_runs(harness, client):
    async def main(runtime):
        one = client()
        monitor = await runtime.start(harness.plan("sh", "-c", "echo out; echo err >&2; exit 7"), [one.attached])
        one.given()
        streams = await one.streams()
        ended = await asyncio.wait_for(monitor.exited, 10)
        return streams, ended["code"]

    assert harness.run(main) == ((b"out\n", b"err\n"), 7)
