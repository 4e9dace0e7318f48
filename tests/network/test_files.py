"""/etc/hosts and /etc/resolv.conf as text."""

import pytest

from havre.network import files

HEAD = (
    "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n"
    "ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
)


def test_hosts_has_dockers_lines_then_extra_then_own():
    text = files.hosts(
        hostname="web",
        domainname="example.org",
        addresses=["172.17.0.2", "fd00::2"],
        extra=[("db", "10.0.0.5")],
    )
    own = "web.example.org web"
    assert text == HEAD + f"10.0.0.5\tdb\n172.17.0.2\t{own}\nfd00::2\t{own}\n"


def test_hosts_without_network_is_the_head():
    assert files.hosts(hostname="web") == HEAD


@pytest.mark.parametrize(
    ("host", "given", "expected"),
    [
        ("nameserver 10.0.0.1\nsearch a b\noptions ndots:2\n", {}, "nameserver 10.0.0.1\nsearch a b\noptions ndots:2\n"),
        ("nameserver 127.0.0.53\noptions edns0\n", {}, "nameserver 8.8.8.8\nnameserver 8.8.4.4\noptions edns0\n"),
        ("nameserver 127.0.0.1\nnameserver ::1\nnameserver 1.1.1.1\n", {}, "nameserver 1.1.1.1\n"),
        ("nameserver fe80::1%eth0\n", {}, "nameserver fe80::1%eth0\n"),
        ("nameserver 10.0.0.1\nsearch a\n", {"dns": ["9.9.9.9"], "search": ["b"], "options": ["rotate"]},
         "nameserver 9.9.9.9\nsearch b\noptions rotate\n"),
        ("nameserver 10.0.0.1\nsearch a\n", {"search": ["."]}, "nameserver 10.0.0.1\n"),
        ("nameserver 10.0.0.1\n", {"dns": ["127.0.0.1"]}, "nameserver 127.0.0.1\n"),  # asked for is asked for
        ("# nameserver 10.9.9.9\n; x\nnameserver\nnameserver junk\ndomain old\nsearch new\n", {},
         "nameserver 8.8.8.8\nnameserver 8.8.4.4\nsearch new\n"),
        ("", {}, "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"),
    ],
)  # fmt: skip
def test_resolv_conf(host, given, expected):
    assert files.resolv_conf(host, **given) == expected
