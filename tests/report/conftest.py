"""What commands print is compared: no colour and a fixed width in every test here."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def plain(plain_environment: None) -> None:
    """As `plain_environment`, without being asked for."""
