"""The tables of a report, the comparison of series, the card."""
