"""Encoding on many machines with Ray Data (the extra `cluster`)."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float32

from procir.cluster import connect
from procir.model.encoding import Encode, EncodePieces

_Item = TypeVar("_Item")


def on_cluster(load: Callable[[], Encode[_Item]], address: str, workers: int, device: str) -> EncodePieces[_Item]:
    """Encodes pieces in up to `workers` processes of a Ray cluster, each with what `load` gives, in order.

    A process that dies is replaced and its piece encoded again. `address` is that of a cluster, `auto` for the one that
    this machine belongs to, or `local`. Raises ConfigError without Ray or without such a cluster.
    """
    ray = connect(address)

    def run(pieces: Iterable[Sequence[_Item]]) -> Iterator[Float32[np.ndarray, "n dim"]]:
        rows = [{"items": pickle.dumps(list(piece))} for piece in pieces]
        # One piece a block, so that workers get them one by one and results leave as they come.
        waiting = ray.data.from_items(rows, override_num_blocks=len(rows))
        encoded = waiting.map(
            _Worker,
            fn_constructor_args=(load,),
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers),
            num_gpus=1 if device.startswith("cuda") else 0,
        )
        for row in encoded.iter_rows():
            yield np.frombuffer(row["rows"], np.float32).reshape(-1, row["dim"])

    return run


class _Worker:
    """What a process of the cluster holds: an encoder that it loaded once."""

    def __init__(self, load: Callable[[], Encode[Any]]) -> None:
        self._encode = load()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        rows = self._encode(pickle.loads(row["items"]))  # noqa: S301 - what `on_cluster` has put there
        return {"rows": rows.tobytes(), "dim": rows.shape[1]}
