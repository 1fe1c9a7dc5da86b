"""A pytest run as one self-contained HTML page: outcomes, figures, pictures, baseline, versions."""
