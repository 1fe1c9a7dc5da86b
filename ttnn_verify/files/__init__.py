"""Files that are written: checked before the work, replaced at once, kept between runs."""
