"""What ends a call from within."""


class Cancelled(Exception):  # asked for, not an error
    """The person who asked does not want the answer any more.

    Not in `server`, which runs as `__main__`: what a call imports from there would be another class.
    """
