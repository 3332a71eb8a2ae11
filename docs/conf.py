"""Settings of the documentation site: `sphinx-build -W -n -c docs . FOLDER`."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import calib_jax  # noqa: E402

project = "calib_jax"
author = "The calib_jax authors"
version = release = calib_jax.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "site_extension",
]
# Sources are those of the checkout, so that links between pages, notebooks and results
# are the same here as where the repository is read.
root_doc = "docs/index"
include_patterns = [
    "docs/*.md",
    "docs/*/*.md",
    "notebooks/*.ipynb",
    "benchmarks/*/*.md",
]
exclude_patterns = ["build", "dist", ".*"]

html_theme = "furo"
html_title = "calib_jax"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_math_renderer = "mathml"
pygments_style, pygments_dark_style = "friendly", "monokai"

# Notebooks are shown with the outputs they are stored with.
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
copybutton_prompt_text = ">>> |\\.\\.\\. "
copybutton_prompt_is_regexp = True

# Docstrings say shapes and dtypes, which types do not.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autosummary_generate = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False
napoleon_use_rtype = False

# Python's own errors have no page here.
nitpick_ignore = [
    ("py:exc", name) for name in ("ValueError", "OSError", "ImportError", "TypeError")
]
