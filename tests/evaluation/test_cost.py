"""Seconds and memory of a block."""

import sys
import time

import numpy as np
import pytest

from lit_rec.evaluation.cost import measured_cost


def test_seconds_of_the_block():
    with measured_cost() as cost:
        time.sleep(0.05)
    assert 0.05 <= cost.seconds < 5


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell")
def test_memory_that_the_block_grew_by_even_if_it_was_given_back():
    with measured_cost() as cost:
        np.ones(40_000_000).sum()  # 320 MB
    assert 0.25 < cost.peak_gb < 0.6
    with measured_cost() as cost:
        pass
    assert cost.peak_gb < 0.1, "the peak before is forgotten"


def test_a_block_that_fails_is_measured_and_fails():
    with pytest.raises(KeyError), measured_cost() as cost:
        raise KeyError
    assert cost.seconds >= 0
