"""How many examples hypothesis tries: `quick` unless `--hypothesis-profile=thorough` is given.

`quick` takes the same examples in every run, so that a run fails only for a change; `thorough`
takes others each time, and its failures print a line that repeats them. There are no deadlines: an
example takes as long as a program takes to compile.
"""

from hypothesis import HealthCheck, settings

# The device is one for all examples, and a program that is compiled makes an example slow.
_COMMON = {
    "deadline": None,
    "print_blob": True,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}

settings.register_profile(
    "quick", max_examples=6, stateful_step_count=8, derandomize=True, database=None, **_COMMON
)
settings.register_profile("thorough", max_examples=50, stateful_step_count=25, **_COMMON)


def load_quick(config):
    """Take the profile `quick`, unless the command line names one."""
    if not config.getoption("hypothesis_profile", None):
        settings.load_profile("quick")


def many():
    """Settings of a test whose examples cost next to nothing: ten times as many of them."""
    return settings(max_examples=10 * settings.default.max_examples)


def of_machines():
    """Settings of a state machine.

    hypothesis leaves some rules out of every run, so that few runs may leave out one altogether.
    """
    return settings(max_examples=max(24, settings.default.max_examples))
