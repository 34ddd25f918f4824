"""Makes the font of the figures: DejaVu Sans with fewer characters and without layout tables.

    python scripts/make_font.py

A PDF embeds the characters that it uses. From the whole font, with its 6,000 glyphs and its rules
for ligatures, that takes ten times as long. Other characters come from DejaVu Sans itself
(`style.RC`). The licence of the font asks for another name, and for its text beside the file.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import matplotlib as mpl
from fontTools import subset
from fontTools.ttLib import TTFont

NAME = "rlm_eval Sans"
FIGURES = Path(__file__).parents[1] / "rlm_eval" / "report" / "figures"
CHARACTERS = (
    range(0x20, 0x7F),  # ASCII
    range(0xA0, 0x180),  # western and central European letters
    range(0x370, 0x400),  # Greek
    range(0x2010, 0x2040),  # dashes, quotation marks
    range(0x2070, 0x20A0),  # superscripts, subscripts
    range(0x2190, 0x2196),  # arrows
    range(0x2200, 0x2270),  # mathematical operators
)
_FULL_NAME, _POSTSCRIPT = (1, 4, 16), 6  # numbers of entries in a font's table of names


def main() -> None:
    """See the module docstring."""
    fonts = Path(mpl.get_data_path()) / "fonts" / "ttf"
    font = TTFont(fonts / "DejaVuSans.ttf", recalcTimestamp=False)
    options = subset.Options()
    options.hinting, options.glyph_names = False, False
    options.legacy_kern, options.layout_features = True, []  # distances between pairs of letters
    options.name_IDs = ["*"]
    options.drop_tables += ["FFTM", "GDEF", "GPOS", "GSUB", "MATH", "gasp"]
    one = subset.Subsetter(options)
    one.populate(unicodes=[code for codes in CHARACTERS for code in codes])
    one.subset(font)
    for entry in font["name"].names:
        if entry.nameID in _FULL_NAME:
            entry.string = NAME
        elif entry.nameID == _POSTSCRIPT:
            entry.string = NAME.replace(" ", "-")
    font.save(FIGURES / "rlm_eval_sans.ttf")
    shutil.copy(fonts / "LICENSE_DEJAVU", FIGURES / "rlm_eval_sans.LICENSE.txt")


if __name__ == "__main__":
    main()
