"""Encoding in the processes of a Ray cluster on this machine."""

import os
import signal
import sys

import numpy as np
import pytest

from procir.cluster import connect
from procir.errors import ConfigError
from procir.model.encoding import encode_to
from procir.model.on_cluster import on_cluster

ITEMS = list(range(30))


@pytest.fixture(scope="module")
def ray():
    module = pytest.importorskip("ray", reason="Ray (the extra cluster) is not installed")
    yield connect("local")
    module.shutdown()


@pytest.fixture
def load_squares():
    def load():  # not a function of this module, which processes of the cluster could not import
        return lambda numbers: np.array([[number, number**2] for number in numbers], np.float32)

    return load


def test_rows_come_in_order_from_several_processes(ray, load_squares, tmp_path):
    encode = on_cluster(load_squares, "local", 2, "cpu")
    found = encode_to(tmp_path, ITEMS, [str(i) for i in ITEMS], encode, dim=2, fingerprint="m", piece=4)
    np.testing.assert_array_equal(found.vectors, [[i, i**2] for i in ITEMS])


def test_the_piece_of_a_process_that_dies_is_encoded_again(ray, tmp_path):
    def load():
        def encode(numbers):
            if 8 in numbers and not (tmp_path / "died").exists():
                (tmp_path / "died").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return np.array([[number, number + 1] for number in numbers], np.float32)

        return encode

    found = encode_to(
        tmp_path / "out", ITEMS, [str(i) for i in ITEMS], on_cluster(load, "local", 2, "cpu"),
        dim=2, fingerprint="m", piece=4,
    )  # fmt: skip
    assert (tmp_path / "died").exists()
    np.testing.assert_array_equal(found.vectors, [[i, i + 1] for i in ITEMS])


def test_a_cluster_that_is_not_there(monkeypatch, load_squares):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"a cluster needs Ray: pip install 'procir\[cluster\]'"):
        on_cluster(load_squares, "local", 1, "cpu")
