"""One exception tree; every message says what was wrong, where, and what to do."""

from __future__ import annotations


class ProcirError(Exception):
    """Anything that procir itself refuses; the command line prints it without a traceback."""


class ConfigError(ProcirError):
    """A setting, or a combination of settings, that cannot work."""


class DataError(ProcirError):
    """The data on disk is not what it should be."""


class MissingDataError(DataError):
    """A folder, file, product, view, caption or triplet that should be there is not."""


class RecordError(DataError):
    """A line of a record file cannot be read; the message starts with `file:line`."""


class DuplicateProductError(DataError):
    """Two products claim one key."""


class UnknownProductError(DataError):
    """A record names a product that the catalogue lacks."""


class ImageError(DataError):
    """An image file is unreadable, truncated or over the limits of `procir.images`."""


class CacheError(DataError):
    """A cache of views is damaged or full, or cannot be opened."""


class ModelError(ProcirError):
    """A model, tokenizer or processor that cannot do what is asked."""


class CheckpointError(ModelError):
    """A checkpoint directory is incomplete, damaged, or of another architecture."""


class MissingTokenError(CheckpointError):
    """The tokenizer or the embedding matrix lacks the embedding token."""


class ContextOverflowError(ModelError):
    """A dialogue is longer than the model's context."""


class PublishError(ModelError):
    """A model cannot be put on the Hub: no token, no right, no way there."""


class SnapshotError(ModelError):
    """A snapshot is damaged, or belongs to another model or to other images."""


class TrainingError(ProcirError):
    """Training cannot start or cannot go on."""


class StoppedError(TrainingError):
    """A signal ended training after a step, whose checkpoint is saved."""


class AnnotationError(ProcirError):
    """Annotators cannot go on."""


class AnswerError(AnnotationError):
    """An annotator's answer cannot be used: it is no JSON of the schema, contradicts the question, or refuses."""


class BadQuestionError(AnnotationError):
    """A request that the built-in annotator cannot answer: no question of a stage, or about what it does not know."""


class ExhaustedError(AnnotationError):
    """A key, a quota or a budget is used up; what was answered is kept, and a later run goes on."""


class LedgerError(AnnotationError):
    """The ledger of paid answers is damaged, of another version, or in use by another run."""


class RefusedError(AnswerError):
    """An annotator refuses to answer; telling it why its answer cannot be used would not help."""


class UnansweredError(AnnotationError):
    """No answer came within the allowed tries; the question stays open, and a later run asks it again."""
