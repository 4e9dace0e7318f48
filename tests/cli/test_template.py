"""Go templates, compared with what Go's text/template prints."""

import pytest

from havre.cli.template import Template, TemplateError

DATA = {
    "Id": "0123456789abcdef",
    "Name": "/web",
    "State": {"Status": "running", "Running": True, "Pid": 42},
    "Args": ["-c", "sleep 1"],
    "Labels": {"b": "2", "a": "1"},
    "None": None,
    "Size": 1.5,
    "Empty": [],
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{.Id}} {{.State.Status}}", "0123456789abcdef running"),
        ("{{json .State}}", '{"Status":"running","Running":true,"Pid":42}'),
        ('{{join .Args " , "}}', "-c , sleep 1"),
        ('{{printf "%.10s" .Id}}|{{upper .State.Status}}', "0123456789|RUNNING"),
        ('{{.Id | printf "%.4s" | printf "%6s"}}', "  0123"),
        (
            '{{printf "%-6s|%5.2f|%03d|%x|%t|%q|%v|%%" "ab" .Size 7 255 true "q" .Args}}',
            'ab    | 1.50|007|ff|true|"q"|[-c sleep 1]|%',
        ),
        ("{{range .Args}}<{{.}}>{{end}}", "<-c><sleep 1>"),
        ("{{range $i, $a := .Args}}{{$i}}={{$a}};{{end}}", "0=-c;1=sleep 1;"),
        ("{{range $k, $v := .Labels}}{{$k}}{{$v}} {{end}}", "a1 b2 "),
        ("{{range .Empty}}x{{else}}none{{end}}", "none"),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ("{{if eq .State.Pid 1}}one{{else if eq .State.Pid 42}}many{{else}}no{{end}}", "many"),
        ("{{with .State}}{{.Pid}} {{$.Name}}{{end}}", "42 /web"),
        ('{{index .Labels "a"}} {{index .Args 1}} {{len .Args}}', "1 sleep 1 2"),
        ("{{$x := .Name}}{{slice $x 1}}", "web"),
        ("{{and true 0}} {{or 0 `x`}} {{not true}}", "0 x false"),
        ("a {{- 1 -}} b", "a1b"),
        ("{{/* nothing */}}x", "x"),
        ("{{.None}} {{.Labels}}", "<no value> map[a:1 b:2]"),
        (
            '{{title "ab"}} {{lower "AB"}} {{split "a,b" ","}} {{truncate "abcdef" 3}} {{pad "x" 1 2}}|',
            "Ab ab [a b] abc  x  |",
        ),
        ('{{define "t"}}[{{.}}]{{end}}{{template "t" .Name}}', "[/web]"),
        ("{{range .Args}}{{if eq . `-c`}}{{continue}}{{end}}{{.}}{{end}}", "sleep 1"),
        ("{{(index .Args 0)}}{{(.State).Pid}}", "-c42"),
        ("{{println .Name}}", "/web\n"),
        ("{{lt 1 2}} {{ge 1 2}} {{ne `a` `b`}}", "true false true"),
    ],
)
def test_render_prints_what_go_prints(template: str, text: str) -> None:
    assert Template(template).render(DATA) == text


@pytest.mark.parametrize(
    "template",
    ["{{", "{{.Id", "{{end}}", "{{if}}", "{{if .Id}}", "{{nope .Id}}", "{{.Missing}}", "{{.Id.More}}", "{{$x}}", '{{"a}}', "{{| .Id}}",
     "{{index .Args 9}}", "{{template `t`}}", "{{range .Id.X}}{{end}}", "{{1 .Id}}"],
)  # fmt: skip
def test_bad_templates_are_errors_never_tracebacks(template: str) -> None:
    with pytest.raises(TemplateError, match=r"^template: "):
        Template(template).render(DATA)


def test_template_text_is_never_evaluated() -> None:
    for text in ("{{.__class__}}", "{0.__class__}", "{{.Name.__len__}}"):
        try:
            assert "class" not in Template(text).render(DATA) or text == "{0.__class__}"
        except TemplateError:
            continue


def test_recursion_is_bounded() -> None:
    with pytest.raises(TemplateError, match="depth"):
        Template('{{define "t"}}{{template "t" .}}{{end}}{{template "t" .}}').render(DATA)
