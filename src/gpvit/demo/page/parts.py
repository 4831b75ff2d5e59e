"""What a report is made of: chapters of sections, each with a title, sentences, and figures or tables.

Text is escaped when the page is written, unless it is `Markup`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup
from PIL import Image

from gpvit.demo.page.embedding import data_url

Tone = Literal["", "right", "wrong"]


@dataclass(frozen=True)
class Headline:
    """One figure that the page is about.

    Args:
        value: The figure with its unit, as `99.4 %`.
        label: What it is.
        note: What it is to be judged by.
    """

    value: str
    label: str
    note: str = ""


@dataclass(frozen=True)
class Headlines:
    """Figures in a row of cards.

    Args:
        figures: From the most important on.
        caption: What to bear in mind.
    """

    figures: Sequence[Headline]
    caption: str = ""
    kind: Literal["headlines"] = "headlines"


@dataclass(frozen=True)
class Chart:
    """A drawing that follows the page's light or dark colours.

    Args:
        svg: From `gpvit.demo.page.charts.to_svg`.
        caption: What it shows and what to notice.
    """

    svg: Markup
    caption: str


@dataclass(frozen=True)
class Charts:
    """Charts side by side where there is room.

    Args:
        charts: In reading order.
    """

    charts: Sequence[Chart]
    kind: Literal["charts"] = "charts"


@dataclass(frozen=True)
class Bar:
    """A probability under a picture.

    Args:
        label: Of what.
        share: From 0 to 1.
        tone: `right` for the truth, `wrong` for an answer that is not.
    """

    label: str
    share: float
    tone: Tone = ""


@dataclass(frozen=True)
class Picture:
    """An image with a line below it.

    Args:
        image: What is shown.
        caption: The line.
        bars: Probabilities below the line.
        pixelated: Enlarge to visible pixels in place of a smooth picture.
        photograph: Store it as a photograph, in a tenth of the space.
    """

    image: Image.Image
    caption: str
    bars: Sequence[Bar] = ()
    pixelated: bool = False
    photograph: bool = False

    @property
    def url(self) -> str:
        """The image itself, as an address."""
        return data_url(self.image, self.photograph)


@dataclass(frozen=True)
class Gallery:
    """Pictures in a grid.

    Args:
        pictures: Row by row.
        columns: Pictures in a row.
        columns_narrow: Pictures in a row on a telephone.
        title: Short heading.
        caption: What they show and what to notice.
        lead: Give the first picture a row of its own on a telephone.
    """

    pictures: Sequence[Picture]
    columns: int
    columns_narrow: int
    title: str = ""
    caption: str = ""
    lead: bool = False
    kind: Literal["gallery"] = "gallery"


@dataclass(frozen=True)
class Table:
    """Rows of text; all columns but the first are set flush right if they hold numbers.

    Args:
        header: Names of the columns; none for a list of terms.
        rows: Their cells.
        caption: What it shows and what to notice.
        numeric: Whether the columns after the first hold numbers.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    numeric: bool = True
    kind: Literal["table"] = "table"


@dataclass(frozen=True)
class Steps:
    """A numbered explanation below a drawing.

    Args:
        steps: Title and sentences of each.
        svg: The drawing.
    """

    steps: Sequence[tuple[str, str]]
    svg: Markup
    kind: Literal["steps"] = "steps"


@dataclass(frozen=True)
class Key:
    """Names beside the colours that pictures use for them.

    Args:
        entries: Names and RGB colours, 0 to 255.
    """

    entries: Sequence[tuple[str, tuple[int, int, int]]]
    kind: Literal["key"] = "key"


Part = Headlines | Charts | Gallery | Table | Steps | Key


@dataclass(frozen=True)
class Section:
    """One topic of the report.

    Args:
        name: Its address on the page, as `groups`.
        title: Its heading.
        text: Paragraphs for a reader who is new to all this.
        parts: Figures and tables, in reading order.
    """

    name: str
    title: str
    text: Sequence[str]
    parts: Sequence[Part] = ()


@dataclass(frozen=True)
class Chapter:
    """Sections that belong together.

    Args:
        name: Its address on the page, as `digits`.
        title: Its heading.
        sections: In reading order.
    """

    name: str
    title: str
    sections: Sequence[Section]
