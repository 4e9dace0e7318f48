"""What --log-opt may say, in dockerd's words, and what becomes of it."""

from pathlib import Path

import pytest

from havre.errors import InvalidParameter
from havre.logs import options, plan, tag
from havre.logs.subject import Subject, attributes

SUBJECT = Subject(
    id="0123456789abcdef" * 4,
    name="web",
    entrypoint="sh",
    args=("-c", "true"),
    image_id="sha256:" + "ab" * 32,
    image_name="busybox:1",
    created="2026-11-24T12:00:00Z",
    env=("PATH=/bin", "STAGE=test", "EMPTY="),
    labels={"com.example.a": "1", "com.example.b": "2", "other": "3"},
)
FOLDER = Path("/data/containers/x")


def make(driver, **words):
    given = {name.replace("_", "-"): value for name, value in words.items()}
    return plan.make(driver, given, SUBJECT, FOLDER)


@pytest.mark.parametrize(
    ("driver", "given", "words"),
    [
        ("json-file", {"foo": "1"}, "unknown log opt 'foo' for json-file log driver"),
        ("local", {"foo": "1"}, "unknown log opt 'foo' for log driver local"),
        ("syslog", {"foo": "1"}, "unknown log opt 'foo' for syslog log driver"),
        ("journald", {"foo": "1"}, "unknown log opt 'foo' for journald log driver"),
        ("fluentd", {"foo": "1"}, "unknown log opt 'foo' for fluentd log driver"),
        ("gelf", {"foo": "1", "gelf-address": "udp://h:1"}, 'unknown log opt "foo" for gelf log driver'),
        ("json-file", {"mode": "later"}, "logger: logging mode not supported: later"),
        (
            "json-file",
            {"max-buffer-size": "1m"},
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
        ),
        (
            "json-file",
            {"mode": "non-blocking", "max-buffer-size": "x"},
            "error parsing option max-buffer-size: invalid size: 'x'",
        ),
        ("fluentd", {"cache-disabled": "maybe"}, "invalid value for option cache-disabled: maybe"),
        ("json-file", {"max-size": "x"}, "invalid size: 'x'"),
        ("json-file", {"max-size": "0"}, "max-size must be a positive number"),
        ("json-file", {"max-file": "0"}, "max-file cannot be less than 1"),
        (
            "json-file",
            {"compress": "true", "max-file": "1", "max-size": "1m"},
            "compress cannot be true when max-file is less than 2 or max-size is not set",
        ),
        ("local", {"max-file": "1"}, "compression cannot be enabled when max file count is 1"),
        ("syslog", {"syslog-address": "host:1"}, "syslog-address should be in form proto://address, got host:1"),
        ("syslog", {"syslog-address": "unix:///no/such"}, "stat /no/such: no such file or directory"),
        ("syslog", {"syslog-facility": "local9"}, "invalid syslog facility"),
        ("syslog", {"syslog-format": "x"}, "Invalid syslog format"),
        (
            "syslog",
            {"syslog-address": "tcp+tls://h:1", "syslog-tls-ca-cert": "/no"},
            "could not read syslog-tls-ca-cert: open /no: no such file or directory",
        ),
        ("gelf", {}, "gelf-address is a required parameter"),
        ("gelf", {"gelf-address": "unix:///x"}, "gelf: endpoint needs to be TCP or UDP"),
        ("gelf", {"gelf-address": "udp://h"}, "gelf: please provide gelf-address as proto://host:port"),
        ("gelf", {"gelf-address": "tcp://h:1", "gelf-compression-type": "gzip"}, "compression is only supported on UDP"),
        (
            "gelf",
            {"gelf-address": "udp://h:1", "gelf-compression-level": "10"},
            'unknown value "10" for log opt "gelf-compression-level" for gelf log driver',
        ),
        ("gelf", {"gelf-address": "udp://h:1", "gelf-tcp-max-reconnect": "1"}, '"gelf-tcp-max-reconnect" is only valid for TCP'),
        ("fluentd", {"fluentd-address": "udp://h:1"}, "invalid fluentd-address (udp://h:1): unsupported scheme: 'udp'"),
        ("fluentd", {"fluentd-address": "unix://"}, "invalid fluentd-address (unix://): path is empty"),
        ("fluentd", {"fluentd-retry-wait": "1 s"}, 'invalid value for fluentd-retry-wait: invalid duration "1 s"'),
        (
            "fluentd",
            {"fluentd-async": "1", "fluentd-async-connect": "1"},
            "conflicting options: cannot specify both 'fluentd-async' and 'fluentd-async-connect'",
        ),
        ("json-file", {"env-regex": "("}, "error parsing regexp"),
        ("json-file", {"tag": "{{.Nothing}}"}, "can't evaluate field Nothing in type *logger.Info"),
    ],
)  # fmt: skip
def test_bad_options_are_refused_in_dockerds_words(driver, given, words):
    with pytest.raises(InvalidParameter) as caught:
        plan.make(driver, given, SUBJECT, FOLDER)
    assert words in str(caught.value)
    assert caught.value.status == 400


@pytest.mark.parametrize("driver", ["awslogs", "splunk", "gcplogs", "etwlogs", "nothing"])
def test_foreign_drivers_are_refused_by_name(driver):
    with pytest.raises(InvalidParameter, match=f"no log driver named '{driver}' is registered"):
        make(driver)


def test_none_takes_any_option_and_logs_nowhere():
    assert plan.make("none", {"whatever": "1"}, SUBJECT, FOLDER)["path"] == ""


def test_json_file_rotates_when_nothing_is_said():
    found = make("json-file")
    assert (found["max_size_bytes"], found["max_files"], found["compress"]) == (10_000_000, 3, False)
    assert found["path"] == f"/data/containers/x/{SUBJECT.id}-json.log"
    assert make("json-file", max_size="-1")["max_size_bytes"] == 0
    assert make("json-file", max_size="1.5k")["max_size_bytes"] == 1500


def test_local_has_dockerds_defaults():
    found = make("local")
    assert (found["max_size_bytes"], found["max_files"], found["compress"]) == (20 << 20, 5, True)
    assert (found["format"], found["path"]) == ("local", "/data/containers/x/local-logs/container.log")


def test_driver_that_sends_keeps_a_copy_unless_told_otherwise():
    kept = make("fluentd", cache_max_size="1m", cache_compress="false")
    assert kept["path"].endswith("/local-logs/container-cached.log")
    assert (kept["max_size_bytes"], kept["max_files"], kept["compress"]) == (1_000_000, 5, False)
    assert make("fluentd", cache_disabled="true")["path"] == ""


def test_non_blocking_has_dockerds_buffer():
    assert make("json-file")["buffer_bytes"] == 0
    assert make("json-file", mode="blocking")["buffer_bytes"] == 0
    assert make("json-file", mode="non-blocking")["buffer_bytes"] == 1_000_000
    assert make("json-file", mode="non-blocking", max_buffer_size="4k")["buffer_bytes"] == 4096


def test_attributes_are_chosen_by_name_and_by_pattern():
    words = {"labels": "other,missing", "labels-regex": "^com.example", "env": "STAGE", "env-regex": "^EM"}
    assert attributes(SUBJECT, words) == {
        "other": "3",
        "com.example.a": "1",
        "com.example.b": "2",
        "STAGE": "test",
        "EMPTY": "",
    }
    assert attributes(SUBJECT, {}) == {}
    assert make("json-file", tag="{{.Name}}", env="STAGE")["attributes"] == {"tag": "web", "STAGE": "test"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("{{.Name}}/{{.ID}}", "web/0123456789ab"),
        ("{{.FullID}}", SUBJECT.id),
        ("{{.ImageName}} {{ .ImageID }}", "busybox:1 sha256:ababa"),
        ("{{.Command}}", "sh -c true"),
        ("{{.DaemonName}}/{{.ContainerName}}", "docker//web"),
        ("{{truncate .ID 4 | upper}}", "0123"),
        ("{{index .ContainerLabels \"other\"}}", "3"),
        ("{{join .ContainerArgs \"+\"}}", "-c+true"),
        ("{{json .ContainerArgs}}", '["-c","true"]'),
        ("{{printf \"%s-%q\" .Name (lower .Name)}}", 'web-"web"'),
        ("plain", "plain"),
        ("a {{- .Name -}} b", "awebb"),
    ],
)  # fmt: skip
def test_tag_is_dockerds_template(text, shown):
    from havre.logs.subject import fields

    found = tag.render(text, fields(SUBJECT, {}))
    assert found == shown


@pytest.mark.parametrize(
    "text", ["{{.Name", "{{nothing .Name}}", "{{}}", "{{.Name | }}", "{{pad .Name 1 100000}}", "{{.ID 3}}"]
)
def test_tag_that_is_no_template_is_refused(text):
    from havre.logs.subject import fields

    with pytest.raises(InvalidParameter, match="template: log-tag:1"):
        tag.render(text, fields(SUBJECT, {}))


@pytest.mark.parametrize(
    ("text", "bytes_"), [("10m", 10_000_000), ("1k", 1000), ("5", 5), ("2 MiB", 2_000_000), ("1.5KB", 1500)]
)
def test_sizes_are_decimal(text, bytes_):
    assert options.decimal_bytes(text) == bytes_


@pytest.mark.parametrize(
    ("text", "seconds"), [("1s", 1.0), ("500ms", 0.5), ("1m30s", 90.0), ("0", 0.0), ("", 7.0)]
)
def test_durations_are_gos(text, seconds):
    assert options.seconds({"x": text}, "x", 7.0) == seconds
