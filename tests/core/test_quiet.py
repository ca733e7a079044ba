"""Noise is kept back, warnings are not."""

import logging
import warnings

import pytest

from lit_rec.core.quiet import quiet_lightning


def test_known_noise_is_ignored_and_other_warnings_come_through():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        quiet_lightning()
        warnings.warn("The dirpath has changed from a to b", UserWarning, stacklevel=1)
        warnings.warn("Something else", UserWarning, stacklevel=1)
    assert [str(one.message) for one in caught] == ["Something else"]
    assert logging.getLogger("lightning.pytorch").level == logging.WARNING


@pytest.fixture(autouse=True)
def levels_as_before():
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    before = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)
