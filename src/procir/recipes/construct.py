"""What `procir construct` does: run the stages, say where they stand, what they cost, and export the result."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from procir.annotators.budget import Budget, Estimate, estimate
from procir.annotators.client import HttpAnnotator
from procir.annotators.ledger import Ledger, Usage
from procir.annotators.settings import AnnotatorSettings, read_settings
from procir.catalog.products import Stock, read_products
from procir.catalog.released import write_split
from procir.construct.caption import caption_questions
from procir.construct.construction import STAGES, Construction, construct
from procir.construct.domain import read_domain
from procir.construct.questions import CAPTION
from procir.construct.work import Work
from procir.errors import ConfigError, DataError
from procir.model.embedder import ProCIR
from procir.model.prefix import fingerprint
from procir.recipes import tiny
from procir.recipes.choices import ModelChoice
from procir.recipes.console import Advance, console, say, show_load, show_skipped, stage
from procir.records import read_json, replacing, write_json, write_jsonl
from procir.types import LoadReport, Split
