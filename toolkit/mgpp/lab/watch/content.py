"""Put together what the browser gets: the explorer's parts, and `watch.js` on top of them."""

from string import Template

from mgpp.lab.explorer.content import asset, stylesheet

PARTS = ("numbers.js", "formulas.js", "counts.js", "view.js", "scales.js", "panel.js", "pictures.js")


def script() -> str:
    """Return the JavaScript module of the page and of the widget."""
    return "\n".join([*map(asset, PARTS), asset("watch.js", __package__)])


def page() -> str:
    """Return the page, which asks for the state again and again."""
    return Template(asset("watch.html", __package__)).substitute(css=stylesheet(), script=script())
