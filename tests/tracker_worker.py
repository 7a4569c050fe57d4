"""A run with trackers in a process of its own, for trackers look at their environment once: OUT FOLDER [--resume]."""

from __future__ import annotations

import socket
import sys
from importlib.util import find_spec
from pathlib import Path

from procir.errors import StoppedError
from procir.train.contrastive import train
from training import crowded_split, fresh_model, settings

HERE = ("127.0.0.1", "::1", "localhost")

# trackio 0.43 wants Pillow below 13, and so is not installed beside the versions of constraints.txt.
TRACKERS = tuple(name for name in ("wandb", "trackio") if find_spec(name))


def only_here(left: list[str]) -> None:
    """Note every connection that this process opens to another machine."""

    def hear(event, arguments):
        if event == "socket.connect" and isinstance(arguments[1], tuple) and arguments[1][0] not in HERE:
            left.append(str(arguments[1]))
        if event == "socket.getaddrinfo" and arguments[0] not in (*HERE, None, socket.gethostname()):
            left.append(str(arguments[0]))

    sys.addaudithook(hear)


def main(out: Path, folder: Path, resume: bool) -> None:
    """Six steps; without `resume` they end after the fourth, and the checkpoint is that of the third."""

    def stop(step):
        if step.step == 4 and not resume:
            raise StoppedError("as a machine that vanishes")

    run = settings(max_steps=6, save_every=3, log_every=1, trackers=TRACKERS)
    try:
        train(
            fresh_model(), crowded_split(folder), run, out, data_hash="x", resume=resume, report=stop,
            evaluate=lambda _: {"R@5": 1.0},
        )  # fmt: skip
    except StoppedError:
        return


if __name__ == "__main__":
    left: list[str] = []
    only_here(left)
    main(Path(sys.argv[1]), Path(sys.argv[2]), "--resume" in sys.argv)
    assert not left, left
