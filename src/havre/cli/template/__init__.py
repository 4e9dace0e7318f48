"""Go's text/template, as far as Docker's --format uses it. No eval: a template is parsed to a tree and the tree is walked.

`Template(text).render(value)`; errors are HavreError with Go's words in front.
"""

from havre.cli.template.nodes import Template

__all__ = ["Template"]
