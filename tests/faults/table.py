"""The table of the faults: each is a function that is given a contender and raises Failed or Missing, or returns."""

from world import Missing


class Fault:
    def __init__(self, key, what, run, seconds, options):
        self.key, self.what, self.run, self.seconds, self.options = key, what, run, seconds, options


FAULTS = []


def fault(key, what, seconds=60, root=None, **options):
    """Adds one. seconds: what it may take; root: why it needs to be root; options: how the contender is made."""

    def add(run):
        FAULTS.append(Fault(key, what, run, seconds, options))
        FAULTS[-1].root = root
        return run

    return add
