"""Go's text/template, as far as Docker's --format uses it. No eval: a template is parsed to a tree and the tree is walked.

In: text, then values (dicts, lists, text, numbers, or a Row: one line of a listing). Out: text. `Template(text).render(value)`; every
problem is a TemplateError in Go's own words ("template: :1:2: executing ..."). Never: an attribute of a Python object.
"""

from havre.cli.template.execute import Template
from havre.cli.template.values import NIL_POINTER, Row, Shown, TemplateError

__all__ = ["NIL_POINTER", "Row", "Shown", "Template", "TemplateError"]
