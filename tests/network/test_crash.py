"""kill -9 at every step: a child does one thing and dies at its n-th side effect; a new daemon must find before or after."""

import os

import pytest

from havre.linux.nlsocket import Netlink
from havre.network.create import NetworkRequest
from havre.spec.endpoint import PortRequest
from havre.store import Records

pytestmark = pytest.mark.kernel
MOST_STEPS = 60
PORTS = [PortRequest(80, host_port=8080), PortRequest(53, proto="udp", host_port=5353)]


def dying_at(step, action):
    """Run `action` in a fork that ends without a word at its `step`-th side effect; say whether it came through."""
    pid = os.fork()
    if pid == 0:
        done = 0

        def before_each(real):
            def stand_in(*args, **kwargs):
                nonlocal done
                done += 1
                if done == step:
                    os._exit(9)
                return real(*args, **kwargs)

            return stand_in

        try:
            for owner, name in ((Netlink, "send"), (Records, "put"), (Records, "delete")):
                setattr(owner, name, before_each(getattr(owner, name)))
            action()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, 9)
    return status == 0


def every_step(action):
    """Yield after each death, until the action comes through; it must have had some steps."""
    for step in range(1, MOST_STEPS):
        if dying_at(step, action):
            assert step > 3
            return
        yield step
    raise AssertionError(f"not through after {MOST_STEPS} steps")


def test_start_dies(world):
    def body(w):
        for _ in every_step(lambda: w.networks("aaaa0000")):
            networks = w.networks("aaaa0000")
            assert {each.name for each in networks.list()} == {"bridge", "host", "none"}
            assert networks.get("bridge").bridge == "docker0"
            networks.connect("bridge", "c1")
            networks.disconnect("c1")
            networks.close()
            os.system("ip link del docker0; nft flush ruleset")
            for file in w.folder.glob("aaaa0000.db*"):
                file.unlink()

    world(body)


def test_connect_dies(world):
    def body(w):
        w.networks().close()
        clean = w.snapshot()

        def action():
            w.networks(start=True).connect("bridge", "c1", ports=PORTS)

        for step in every_step(action):
            again = w.networks()
            assert set(again.endpoints("bridge")) <= {"c1"}, step
            assert ("8080" in w.snapshot()) == bool(again.endpoints("bridge")), step
            again.disconnect("c1")
            assert w.snapshot() == clean, step
            again.connect("bridge", "c2", ports=PORTS)
            again.disconnect("c2")
            again.close()

    world(body)


def test_disconnect_dies(world):
    def body(w):
        networks = w.networks()
        clean = w.snapshot()
        networks.close()

        def action():
            w.networks().disconnect("c1")

        step = 0
        while True:
            step += 1
            networks = w.networks()
            box = w.container(networks.connect("bridge", "c1", ports=PORTS))
            networks.close()
            through = dying_at(step, action)
            again = w.networks()
            present = bool(again.endpoints("bridge"))
            assert ("8080" in w.snapshot()) == present, step
            assert not (through and present), step
            again.disconnect("c1")
            os.close(box)
            again._fading.sweep()
            again.close()
            if through:
                break
        assert step > 3
        w.settled(clean)

    world(body)


def test_create_and_remove_die(world):
    def body(w):
        w.networks().close()
        clean = w.snapshot()

        def create():
            w.networks().create(NetworkRequest("shop"))

        def remove():
            w.networks().remove("shop")

        for step in every_step(create):
            again = w.networks()
            if any(each.name == "shop" for each in again.list()):
                again.connect("shop", "c1", ports=PORTS)
                again.disconnect("c1")
                again.remove("shop")
            assert w.snapshot() == clean, step
            again.close()
        for step in every_step(remove):
            again = w.networks()
            assert any(each.name == "shop" for each in again.list()), step
            again.connect("shop", "c1")
            again.disconnect("c1")
            again.close()
        w.networks().close()
        assert w.snapshot() == clean

    world(body)
