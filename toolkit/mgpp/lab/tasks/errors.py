"""Define the error of data that a task can't use."""


class DataError(ValueError):
    """Data are missing, or not as a task needs them; the message names the place and what is needed."""


class DataWarning(UserWarning):
    """What a task decided about the data or the model's head, where the user did not say."""
