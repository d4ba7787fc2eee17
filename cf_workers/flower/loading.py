"""Where do templates come from? Ours beside Flower's own, and a link to our pages in its navigation."""

from __future__ import annotations

from pathlib import Path

from tornado.template import Loader as TornadoLoader
from tornado.template import Template

OURS = Path(__file__).parent / "templates"
_NAVIGATION = "navbar.html"
_BEFORE = "<a class=\"nav-link{% if active_tab == 'tasks' %}"
_ITEM = '<li class="nav-item">'
_LINK = """<li class="nav-item">
          <a class="nav-link{% if active_tab == 'runs' %} active{% end %}"
            href="{{ reverse_url('runs') }}"
            {% if active_tab == 'runs' %}aria-current="page"{% end %}>Runs</a>
        </li>
        """


class Loader(TornadoLoader):
    """Loads Flower's templates, and ours where Flower has none of that name.

    Args:
        root: the folder of Flower's.
    """

    def _create_template(self, name: str) -> Template:
        path = Path(self.root) / name
        if name == _NAVIGATION:
            return Template(with_link(path.read_text("utf-8")), name=name, loader=self)
        if not path.exists():
            return Template((OURS / name).read_bytes(), name=name, loader=self)
        return super()._create_template(name)


def with_link(navigation: str) -> str:
    """The navigation with a link to the runs before the one to the tasks; as it was if it looks otherwise."""
    tab = navigation.find(_BEFORE)
    item = navigation.rfind(_ITEM, 0, tab) if tab >= 0 else -1
    return navigation if item < 0 else navigation[:item] + _LINK + navigation[item:]
