"""Settings of the documentation site: `make docs` builds it into docs/_build."""

import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))

from gpvit.errors import UserError
from gpvit.export.web import write_page
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
myst_enable_extensions = ["colon_fence", "deflist"]
autodoc_typehints = "description"
autodoc_member_order = "bysource"


def add_live_page(app: Sphinx) -> None:
    """Write a page that labels images in the browser, shown by web.md; without npm, the site says so and has none."""
    try:
        write_page("segformer_gpvit_nano.digit_scenes", Path(app.outdir, "live"))
    except UserError as error:
        print(f"no live page: {error}")
    else:
        app.tags.add("live")


def setup(app: Sphinx) -> None:
    """Have Sphinx call what is above."""
    app.connect("builder-inited", add_live_page)
