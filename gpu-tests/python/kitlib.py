"""What the framework programs share: the digest of all results, the place at which
a program can be saved while it works, and the way out when a program cannot be
tried on this machine."""

import hashlib
import os
import sys
import time

NOT_HERE = 77


def not_here(reason):
    """Ends the program: it cannot be tried here, for this reason."""
    print(reason, file=sys.stderr, flush=True)
    # Libraries that are half loaded may not survive an orderly end.
    os._exit(NOT_HERE)


def say(line):
    print(line, flush=True)


def number(value):
    """A floating-point number with all its bits."""
    return float(value).hex()


def half_way(work):
    """Says so and, while the file that KIT_HOLD names exists, goes on with work
    that changes no result: whoever saves the program then finds it busy."""
    say("half way")
    hold = os.environ.get("KIT_HOLD")
    while hold and os.path.exists(hold):
        work()
        time.sleep(0.0005)


class Digest:
    """Of everything that is added, in order."""

    def __init__(self):
        self._hash = hashlib.blake2b(digest_size=8)

    def add(self, data):
        self._hash.update(data)

    def end(self):
        say("digest " + self._hash.hexdigest())
