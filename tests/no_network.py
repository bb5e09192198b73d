"""A machine without a network: every way out raises, also for code that would have swallowed an offline setting."""

import socket

import pytest


@pytest.fixture
def no_network(monkeypatch):
    """Sockets can't be opened, and nothing was told to stay offline."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)

    class _Alarm(BaseException):
        """No `except Exception` hides it."""

    def _refuse(*arguments, **_):
        raise _Alarm(f"the network was asked: {arguments}")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, _refuse)
    return _Alarm
