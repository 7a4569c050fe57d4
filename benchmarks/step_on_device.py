"""A whole training step on a device: packed, chunked and recomputed as memory allows, against the plain one.

Four views of each product, random pixels, random weights: what is measured depends on shapes alone. The plain step
(`benchmarks.plain_step`) has no gradient caching: where a batch does not fit, it takes the largest halved one that
does, and its samples a second are those of that smaller batch.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.plain_step import plain_losses
from procir.model.embedder import ProCIR
from procir.model.pixels import PixelSettings, ViewPixels
from procir.model.reader import EmbedderSettings
from procir.model.tokenizers import qwen_tokenizer, train_tokenizer
from procir.train import optimizers
from procir.train.config import Recompute, TrainConfig
from procir.train.contrastive import training_mode
from procir.train.data import StepExamples
from procir.train.distributed import ALONE
from procir.train.gradients import accumulate, precision
from procir.train.memory import estimate
from procir.train.passes import lay_out_all

VIEWS = 4
PEAKS = {"H100": 989e12, "H200": 989e12}
"""Dense bfloat16 operations a second by part of the device's name, as NVIDIA states them."""
LIMIT = 24e9
"""Bytes within which a step of 160 must run with gradient caching."""
TEXT = "navy cotton dress with a round neckline short sleeves and zipper at the back make it longer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is measured: a shape on a device, batches of so many triplets of views of a side, so many rounds."""

    device: str = "cuda"
    shape: str = "0.8b"
    batch: int = 160
    side: int = 512
    rounds: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Samples a second, seconds of laying out a step on the host, and peak bytes on a GPU (0 elsewhere)."""

    samples_per_second: float
    laying_out: float
    peak_bytes: int


def measure(work: Work) -> dict[str, Any]:
    """Print what a step takes; returns the numbers."""
    model, examples = _start(work)
    name = torch.cuda.get_device_name() if work.device == "cuda" else "CPU"
    print(f"{name}: shape {work.shape}, {work.batch} triplets of {VIEWS} + {VIEWS} views of {work.side} x {work.side}")
    found: dict[str, Any] = {"device": name, "batch": work.batch, "difference": _difference(model, examples, work)}
    print(f"losses of two triplets differ from the plain one's by {found['difference']:.1e}")
    operations = _operations(model, examples, work)
    print(f"{operations / 1e12:.3g} TFLOP a step: three times what one forward pass multiplies, as torch counts it")
    plans: list[tuple[Recompute, float]] = [("full", LIMIT), ("selective", _memory(work)), ("off", _memory(work))]
    measured = []
    for how, within in plans:
        config = _config(model, examples, work, how, within)
        ours, chunk = _fitting(partial(_ours, model, examples, config, work), config.chunk, within, work)
        print(f"recompute {how}, chunks of {chunk}: {_said(ours, operations, work, name)}")
        measured.append(ours)
    found["within"], found["ours"] = measured[0], max(measured, key=lambda each: each.samples_per_second)
    found["plain"], found["plain batch"] = _fitting(
        lambda size: _plain(model, _first(examples, size), work), work.batch, _memory(work), work
    )
    smaller = "" if found["plain batch"] == work.batch else f" of {found['plain batch']}, as more do not fit"
    print(f"plain step{smaller}: {_said(found['plain'], operations, work, name)}")
    found["ratio"] = found["ours"].samples_per_second / found["plain"].samples_per_second
    found["share"] = _share(found["ours"], operations, work, name)
    return found


def _start(work: Work) -> tuple[ProCIR, StepExamples]:
    tokenizer = qwen_tokenizer() if work.shape == "0.8b" else train_tokenizer([TEXT], 300)
    pixels = PixelSettings(min_pixels=32 * 32, max_pixels=work.side**2)
    model = ProCIR.from_shape(work.shape, tokenizer, EmbedderSettings(pixels=pixels))
    model.network.to(work.device)
    rng, numbers = np.random.default_rng(0), count()

    def views() -> list[ViewPixels]:
        pictures = rng.integers(0, 256, (VIEWS, work.side, work.side, 3), dtype=np.uint8)
        return [ViewPixels(picture, (work.side // 32, work.side // 32)) for picture in pictures]

    def text(words: int) -> str:
        return " ".join([str(next(numbers)), *rng.choice(TEXT.split(), words)])

    build, rows = model.dialogues, range(work.batch)
    return model, StepExamples(
        queries=[build.query(views(), text(int(rng.integers(16, 128)))) for _ in rows],
        documents=[(build.document(views()),) for _ in rows],
        source_captions=[build.caption(text(int(rng.integers(40, 220)))) for _ in rows],
        target_captions=[(build.caption(text(int(rng.integers(40, 220)))),) for _ in rows],
        sources=np.arange(work.batch),
        targets=np.arange(work.batch)[:, None] + work.batch,
    )


def _first(examples: StepExamples, size: int) -> StepExamples:
    """The first rows alone."""
    kinds = ("queries", "documents", "source_captions", "target_captions", "sources", "targets")
    return replace(examples, **{kind: getattr(examples, kind)[:size] for kind in kinds})


def _base(work: Work) -> TrainConfig:
    return TrainConfig(batch_size=work.batch, precision="bf16")


def _config(model: ProCIR, examples: StepExamples, work: Work, how: Recompute, within: float) -> TrainConfig:
    """The largest chunk, a power of two, whose step is foretold to stay within nine tenths of so many bytes."""
    optimizer = optimizers.build(model.network.named_parameters(), "adamw", learning_rate=1e-5, weight_decay=0.0)
    chunk = 1
    while chunk < work.batch:
        config = replace(_base(work), chunk=2 * chunk, recompute=how)
        memory = estimate(model, examples, optimizer, config, ALONE)
        if memory.weights + memory.gradients + memory.optimizer + memory.activations > 0.9 * within:
            break
        chunk *= 2
    return replace(_base(work), chunk=min(chunk, work.batch), recompute=how)


def _memory(work: Work) -> float:
    return float(torch.cuda.get_device_properties(0).total_memory) if work.device == "cuda" else LIMIT


def _difference(model: ProCIR, examples: StepExamples, work: Work) -> float:
    two, config = _first(examples, 2), _base(work)
    with torch.no_grad(), precision(model, config):
        plain = plain_losses(model, two, config).item()
    ours = accumulate(model, two, config).losses["loss"]
    model.network.zero_grad(set_to_none=True)
    return abs(ours - plain)


def _operations(model: ProCIR, examples: StepExamples, work: Work) -> float:
    """Of a forward and a backward pass of the batch, from the products of matrices and the attention of two triplets.

    Nothing that is computed twice for want of memory counts; nor do kernels that torch does not know, which are
    flash-linear-attention's.
    """
    (one,) = lay_out_all(model, _first(examples, 2), _base(work))
    with FlopCounterMode(display=False) as counter, torch.no_grad(), precision(model, _base(work)):
        model.states(one.layout)
    return 3 * counter.get_total_flops() * work.batch / 2


def _fitting(run: Callable[[int], Measured], size: int, within: float, work: Work) -> tuple[Measured, int]:
    """What a run of the largest size gives that fits into so many bytes, and that size: halved until it does."""
    while True:
        try:
            with _at_most(within, work):
                return run(size), size
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size //= 2


@contextmanager
def _at_most(within: float, work: Work) -> Iterator[None]:
    """On a GPU torch takes no more than so many bytes meanwhile."""
    if work.device != "cuda":
        yield
        return
    torch.cuda.set_per_process_memory_fraction(min(1.0, within / _memory(work)))
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()


def _ours(model: ProCIR, examples: StepExamples, config: TrainConfig, work: Work, chunk: int) -> Measured:
    config = replace(config, chunk=chunk)
    optimizer = optimizers.build(model.network.named_parameters(), "adamw", learning_rate=1e-5, weight_decay=0.0)
    begun = time.perf_counter()
    passes = lay_out_all(model, examples, config)
    laying_out = time.perf_counter() - begun

    def step() -> None:
        accumulate(model, examples, config, ALONE, passes)
        torch.nn.utils.clip_grad_norm_(model.network.parameters(), config.clip)
        optimizers.step(optimizer, 0.0)

    with training_mode(model, config.recompute):
        seconds, peak = _timed(step, work)
    return Measured(samples_per_second=work.batch / seconds, laying_out=laying_out, peak_bytes=peak)


def _plain(model: ProCIR, examples: StepExamples, work: Work) -> Measured:
    optimizer, config = torch.optim.AdamW(model.network.parameters(), lr=0.0), _base(work)

    def step() -> None:
        with precision(model, config):
            plain_losses(model, examples, config).backward()
        torch.nn.utils.clip_grad_norm_(model.network.parameters(), config.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    with training_mode(model, "off"):
        seconds, peak = _timed(step, work)
    return Measured(samples_per_second=len(examples.queries) / seconds, laying_out=0.0, peak_bytes=peak)


def _timed(step: Callable[[], None], work: Work) -> tuple[float, int]:
    """The median of seconds after one step to warm up, and peak bytes."""
    with _peak(work.device) as peak:
        seconds = []
        for _ in range(work.rounds + 1):
            begun = time.perf_counter()
            step()
            if work.device == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds[1:]), peak[0]


@contextmanager
def _peak(device: str) -> Iterator[list[int]]:
    """The most bytes that torch held on a GPU meanwhile, what its allocator keeps back included."""
    found = [0]
    if device != "cuda":
        yield found
        return
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    yield found
    found[0] = torch.cuda.max_memory_reserved()


def _share(measured: Measured, operations: float, work: Work, name: str) -> float | None:
    """Of the device's peak, where that is known."""
    peaks = [peak for part, peak in PEAKS.items() if part in name]
    return operations / work.batch * measured.samples_per_second / peaks[0] if peaks else None


def _said(measured: Measured, operations: float, work: Work, name: str) -> str:
    reached = _share(measured, operations, work, name)
    share = "" if reached is None else f", {reached:.1%} of the peak"
    memory = f", peak {measured.peak_bytes / 1e9:.1f} GB" if measured.peak_bytes else ""
    layout = f", laid out ahead in {measured.laying_out:.2f} s" if measured.laying_out else ""
    return f"{measured.samples_per_second:.2f} samples a second{share}{memory}{layout}"
