"""Settings of the site, which `make docs` builds.

The source folder is the root of the repository, not docs/. So a relative link leads to the same place in a page of the
site and in its file.
"""

project = "MGPP toolkit"
language = "en"
root_doc = "docs/index"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx_design",
    "tools.site.api",
    "tools.site.docstrings",
    "tools.site.links",
    "tools.site.mathml",
    "tools.site.notebooks",
]
include_patterns = [
    "*.md",
    ".binder/*.md",
    "data/*.md",
    "docs/**",
    "figures/*.md",
    "notebooks/**",
    "toolkit/mgpp/lab/recipes/*.md",
]
exclude_patterns = [
    "docs/_build",
    "notebooks/workshop/source",
    "**.ipynb_checkpoints",
    ".venv",
    ".hypothesis",
    "data/*/*",
]

# Markdown and notebooks: what is committed is shown, nothing is executed
nb_execution_mode = "off"
nb_ipywidgets_js = {}  # they would come from the network
nb_merge_streams = True
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4
# notebooks name no lexer, since they are stripped of their Python's version; cells of Colab are not quite Python
suppress_warnings = ["mystnb.lexer", "misc.highlighting_failure"]

# docstrings
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
default_role = "literal"
python_maximum_signature_line_length = 88

html_theme = "pydata_sphinx_theme"
html_title = project
html_static_path = ["site"]
html_favicon = "site/icon.svg"
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system says
html_css_files = ["site.css"]
html_copy_source = False
html_math_renderer = "mathml"
html_theme_options = {
    "header_links_before_dropdown": 8,
    "navbar_align": "left",
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {page: [] for page in ("docs/index", "docs/explore", "docs/gotchas", "docs/reliability", "docs/costs")}
copyright = "the authors of the MGPP toolkit, Apache-2.0"
