"""The ledger at the size of the paper's data: writing 144,000 outcomes, and finding what is left of them.

Every product goes through the real ledger as a call of the real annotator does: a note, the body of the answer (3 KB),
what it used, and its outcome; 64 tasks write at once. Then a second start decides what is left, once with all but a
hundredth known. The reference is a plain insert of the same rows by one statement each in one transaction.
`python -m benchmarks.ledger` prints what it measured, and as its last line one JSON object with the claim.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import sqlite3
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from hashlib import sha256
from itertools import batched
from pathlib import Path

from procir.annotators.ledger import Call, Decision, Ledger, Spent

PRODUCTS = 144_000
LEFT = PRODUCTS // 100
TASKS = 64
TARGET_SECONDS = 10.0
TARGET_MIB = 1024
