"""The conversations of supervised fine-tuning in LLaMA-Factory's sharegpt format: messages, and paths of images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from procir.catalog.conversations import SHARE, Conversation, Turn, caption_conversations, triplet_conversations
from procir.catalog.findings import Findings
from procir.construct.export import require_empty
from procir.errors import DataError
from procir.records import Row, replacing_folder, write_json, write_jsonl
from procir.types import LoadReport, Split

NAMES = {"captions": "procir_captions", "triplets": "procir_triplets"}
"""Names of the two tasks in dataset_info.json, by their files."""

_PLACE = "<image>"
_SPECIAL = (_PLACE, "<video>", "<audio>", "<think>", "</think>", "<|")
"""What LLaMA-Factory or the model would not read as text."""


def export_llama_factory(
    folder: Path, split: Split, *, images: Path, embedding_token: str, seed: int, share: float = SHARE
) -> LoadReport:
    """Write captions.jsonl, triplets.jsonl and dataset_info.json into a new or empty folder, whole or not at all.

    Paths of images are relative to `images`, LLaMA-Factory's media_dir. `embedding_token` is that of the model to
    train, which must have it as a special token. The report counts the conversations as captions and triplets, and
    what was left out. Raises DataError for a folder that holds something, and for views outside of `images`.
    """
    require_empty(folder)
    findings = Findings()

    def rows(found: Iterable[Conversation]) -> Iterator[Row]:
        for conversation in found:
            if _is_plain(conversation, embedding_token):
                yield _row(conversation, images, embedding_token)
            else:
                findings.add("conversations whose texts spell a special token", conversation.name)

    with replacing_folder(folder) as scratch:
        captions = caption_conversations(split, findings, seed=seed, share=share)
        triplets = triplet_conversations(split, findings, seed=seed, share=share)
        counts = {
            "captions": write_jsonl(scratch / "captions.jsonl", rows(captions)),
            "triplets": write_jsonl(scratch / "triplets.jsonl", rows(triplets)),
        }
        write_json(scratch / "dataset_info.json", {name: _about(file) for file, name in NAMES.items()})
    return LoadReport(**counts, skipped=findings.counts, examples=findings.examples())


def _about(file: str) -> Row:
    return {
        "file_name": f"{file}.jsonl",
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "images": "images"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "system_tag": "system",
        },
    }


def _is_plain(conversation: Conversation, embedding_token: str) -> bool:
    texts = (text for turn in conversation.turns for text in (turn.thought, turn.answer or ""))
    return not any(mark in text for text in texts for mark in (*_SPECIAL, embedding_token))


def _row(conversation: Conversation, images: Path, embedding_token: str) -> Row:
    messages = [{"role": "system", "content": conversation.system}] if conversation.system else []
    for turn in conversation.turns:
        messages.append({"role": "user", "content": _PLACE * len(turn.views) + turn.request})
        messages.append({"role": "assistant", "content": _answer(turn, embedding_token)})
    paths = [_relative(view.path, images) for turn in conversation.turns for view in turn.views]
    return {"messages": messages, "images": paths}


def _answer(turn: Turn, embedding_token: str) -> str:
    """The assistant's text as the model's dialogues have it: a think block, a blank line, and the rest."""
    return f"<think>\n{turn.thought}\n</think>\n\n{embedding_token if turn.answer is None else turn.answer}"


def _relative(path: Path, images: Path) -> str:
    try:
        return path.relative_to(images).as_posix()
    except ValueError as error:
        raise DataError(f"{path} does not lie below {images}: pass the folder that holds all images") from error
