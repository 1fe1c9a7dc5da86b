"""The network: for Hugging Face's libraries alone, where a command line asks for it."""

import urllib.error
import urllib.request

from huggingface_hub import constants

# Seconds to wait for the hub before it counts as unreachable, which leaves a checkpoint that is not
# cached unfound: a slow machine or line answers within them. One that is refused says so at once.
HUB_TIMEOUT = 60


def allow(asked_for: bool) -> None:
    """Keep Hugging Face's libraries off the network in this process, unless it is asked for.

    Reading from the cache alone is not enough: transformers also asks whether somebody has
    converted weights, and which model a tokenizer is of.
    """
    if not asked_for:
        constants.HF_HUB_OFFLINE = True


def hub_reachable() -> bool:
    """Whether the hub answers; transformers itself would retry for half a minute."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        urllib.request.urlopen(constants.ENDPOINT, timeout=HUB_TIMEOUT).close()
    except urllib.error.HTTPError:
        return True  # an error from the hub shows that it is reachable
    except OSError:
        return False
    return True
