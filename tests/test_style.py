from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib_inline.config import InlineBackend

from mgpp import METHODS
from mgpp.plots import style


def luminance(color):
    return np.dot(to_rgb(color), [0.2126, 0.7152, 0.0722])


def test_no_two_methods_differ_by_colour_alone():
    for attribute in ("label", "line", "marker"):
        assert len({getattr(method, attribute) for method in METHODS.values()}) == len(METHODS), attribute


def test_an_unknown_method_has_a_look_of_its_own_name():
    look = style.method_look("mine")
    assert look["label"] == "mine"
    assert to_rgb(look["color"])


# Machado, Oliveira & Fernandes (2009), complete protanopia and deuteranopia, on linear RGB
PROTANOPIA = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
DEUTERANOPIA = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
XYZ = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]


def seen(color, sight):
    """CIE L*a*b* of a colour as it is seen."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = np.array(XYZ) @ np.clip(np.array(sight) @ linear, 0, 1) / np.sum(XYZ, axis=1)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("sight", [np.eye(3), PROTANOPIA, DEUTERANOPIA], ids=["all", "protanopia", "deuteranopia"])
def test_colours_of_methods_are_told_apart_by_everybody(sight):
    colors = sorted({method.color for method in METHODS.values()})
    for one, other in combinations(colors, 2):
        assert np.linalg.norm(seen(one, sight) - seen(other, sight)) > 10, (one, other)


def test_shades_keep_their_order_in_greyscale():
    values = [luminance(color) for color in style.shades(5)]
    assert values == sorted(values, reverse=True)


def test_the_style_is_for_print():
    with style.paper_style():
        assert mpl.rcParams["pdf.fonttype"] == 42
        assert mpl.rcParams["font.size"] >= 7


@pytest.mark.parametrize(("chosen", "drawn"), [("png", "retina"), ("svg", "svg")])
def test_notebooks_are_sharp_unless_their_user_chose_a_format(chosen, drawn, monkeypatch):
    monkeypatch.setattr(InlineBackend, "_instance", None)
    backend = InlineBackend.instance()
    backend.figure_formats = {chosen}
    with style.paper_style():
        assert backend.figure_formats == {drawn}
    InlineBackend.clear_instance()
