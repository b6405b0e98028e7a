"""Sphinx: `make docs` builds the site; tests/test_site.py builds it with warnings as errors, so a broken link fails."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from gymnast.version import __version__

project = "gymnast"
version = release = __version__
extensions = ["extension", "myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]

myst_enable_extensions = ["attrs_block", "attrs_inline"]
myst_heading_anchors = 4

html_theme = "furo"
html_title = "gymnast"
html_show_copyright = False
html_copy_source = False

default_role = "code"  # docstrings write `name` for code
napoleon_google_docstring = True
napoleon_numpy_docstring = False
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
add_module_names = False
python_maximum_signature_line_length = 100
