"""Settings of the documentation site: `make docs` builds it into docs/_build."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from gpvit.version import __version__

project = "gpvit"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "reference"]
exclude_patterns = ["_build"]
copyright = "the gpvit maintainers"
html_theme = "furo"
html_title = f"gpvit {__version__}"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
suppress_warnings = ["myst.header"]  # tables of results are parts of a page
default_role = "code"
highlight_language = "text"
myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]
autodoc_typehints = "description"
autodoc_member_order = "bysource"
