import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_rgb

from mgpp.analysis import style
from mgpp.pruning.methods import METHODS


def luminance(color):
    return np.dot(to_rgb(color), [0.2126, 0.7152, 0.0722])


def test_every_method_has_a_colour_a_line_and_a_name():
    from mgpp.analysis.plots import METHOD_NAMES

    for name, method in METHODS.items():
        assert name in style.METHOD_COLORS
        assert name in style.METHOD_LINES
        assert METHOD_NAMES[name] == method.label


def test_no_two_methods_differ_by_colour_alone():
    lines = list(style.METHOD_LINES.values())
    assert len(set(lines)) == len(lines)


def test_shades_keep_their_order_in_greyscale():
    values = [luminance(color) for color in style.shades(5)]
    assert values == sorted(values, reverse=True)


def test_the_style_is_for_print():
    with style.paper_style():
        assert mpl.rcParams["pdf.fonttype"] == 42
        assert mpl.rcParams["font.size"] >= 7
