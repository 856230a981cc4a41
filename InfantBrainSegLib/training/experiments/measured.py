"""What was measured of weights on subjects, kept in a file so that a run that goes on does not measure it again."""

import hashlib
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ... import __version__
from ...core.json_text import read_json_object
from ...evaluation.metrics import TissueMetrics
from ...imaging.files import write_text

Scores = dict[str, TissueMetrics]  # from a tissue's short name


class Measured:
    """Scores by the weights and the subject that they are of.

    Parameters
    ----------
    path : Path
        A JSON file; one that is absent or damaged holds nothing.
    """

    def __init__(self, path: Path):
        self._path = path
        self._known = read_json_object(path)

    def get(self, key: str) -> Scores | None:
        """The scores that were kept under a key, if any."""
        try:
            return {tissue: _metrics(values) for tissue, values in self._known[key].items()}
        except (KeyError, TypeError, AttributeError):
            return None

    def keep(self, key: str, scores: Scores) -> None:
        """Keep scores from now on, also on disk."""
        self._known[key] = plain_scores(scores)
        write_text(json.dumps(self._known, indent=2, allow_nan=False) + "\n", self._path)


def key_of(weights: dict[str, str], fingerprint: str) -> str:
    """Name what was measured: by the checksum of each stage's weights, the subject's fingerprint and this program's version."""
    return hashlib.sha256(json.dumps([weights, fingerprint, __version__], sort_keys=True).encode()).hexdigest()[:24]


def plain_scores(scores: Scores) -> dict[str, dict]:
    """Plain values for JSON; what does not exist is null."""
    return {
        tissue: {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in asdict(one).items()}
        for tissue, one in scores.items()
    }


def _metrics(values: dict[str, Any]) -> TissueMetrics:
    known: dict[str, Any] = {key: math.nan if value is None else value for key, value in values.items()}
    return TissueMetrics(**known)
