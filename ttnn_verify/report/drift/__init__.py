"""Reports of drift: what is recorded of a search, as text and as a page."""
