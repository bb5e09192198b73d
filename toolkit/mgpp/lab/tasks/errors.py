"""Define the error of data that a task can't use."""


class DataError(ValueError):
    """Data are missing, or not as a task needs them; the message names the place and what is needed."""
