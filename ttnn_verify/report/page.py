"""The page itself: what `content` found and `plots` drew, put into the template beside this file."""

import datetime
import math
import pathlib
import time

import jinja2

from ttnn_verify import backend
from ttnn_verify.pytest_plugins import device, outcomes, regression
from ttnn_verify.report import content, plots

HERE = pathlib.Path(__file__).parent


def render(config, exitstatus, drift=None):
    """A run as HTML, self-contained: style, script and pictures are in it.

    Args:
        config: pytest's, of a run that has ended.
        exitstatus: the run's.
        drift: a `content.Drift` to show too.
    """
    done, check = config.stash[outcomes.RUN], config.stash[regression.CHECKED]
    rows = content.rows(done, check)
    tiers = content.tiers(done)
    used = [row.entry["used"] for row in rows if row.entry["used"] is not None]
    finished = datetime.datetime.now(datetime.timezone.utc)
    return _template().render(
        passed=exitstatus == 0,
        finished=f"{finished:%Y-%m-%d %H:%M} UTC",
        seconds=time.time() - done.started,
        backend=backend.described(config.stash[device.BACKEND], config.stash[device.ARITHMETIC]),
        versions=content.versions(),
        processor=content.processor(),
        commit=content.commit(config.rootpath),
        command=" ".join(["pytest", *map(str, config.invocation_params.args)]),
        total=content.total(done),
        pyramid=[tier for tier in tiers if tier.name not in content.TOOLS],
        tools=[tier for tier in tiers if tier.name in content.TOOLS],
        failures=content.failures(done),
        rows=rows,
        histograms=[(row, _histogram(row.entry)) for row in content.worst(rows)],
        shares=plots.shares(used) if used else None,
        depth=_over_depth(content.depth(rows)),
        drift=drift,
        drift_picture=drift and _over_depth(drift.series),
        check=check,
        check_name=check and outcomes.relative(check.path, config),
        outcome=check and regression.outcome(config),
    )


def _histogram(entry):
    return plots.error_histogram(entry["histogram"], entry["relative_l2"], entry["allowed"])


def _over_depth(series):
    return plots.over_depth(series) if series else None


def _template():
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "pcc": lambda value: "" if value is None else f"{value:.6f}",
        "figure": lambda value: "" if value is None else f"{value:.3g}",
        "share": share,
        "ratio": ratio,
        "duration": duration,
        "sortable": sortable,
    }
    return environment.get_template("page.html.jinja")


def share(value):
    """A share of a tolerance, as a percentage; empty for None."""
    if value is None:
        return ""
    return f"{value:.0%}" if math.isfinite(value) else "all and more"


def ratio(value):
    """An error in terms of the baseline's; empty for None."""
    if value is None:
        return ""
    return f"\u00d7{value:.2f}" if math.isfinite(value) else "was 0"


def duration(seconds):
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{seconds:.1f} s"


def sortable(value):
    """A number as the page's script reads it; empty for None and NaN, which sort last."""
    if value is None or math.isnan(value):
        return ""
    return "1e999" if value == math.inf else f"{value:.9g}"
