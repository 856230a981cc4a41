"""The one loop of all measurements: what is stored and still true is kept, the rest is measured, and each figure knows what made it.

A study's JSON file holds its figures under groups of its own, such as `subjects`, beside two entries of this file:

- `keys`: what figures were measured with: sha256 of weights, configuration, and a digest of the source files of what is measured,
- `made_with`: the key of each figure.

A figure is stale when its key differs from today's. Figures stored before code was digested have the code null: unknown, not stale.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from InfantBrainSegLib.imaging.files import write_text

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results"
PAGE = ROOT / "docs" / "results.md"
LIBRARY = ROOT / "InfantBrainSegLib"
SEGMENTATION = ("core", "imaging", "networks", "preparation", "extraction", "pipeline", "evaluation")  # what labels and scores depend on
TRAINING = (*SEGMENTATION, "training")
TODAY, STALE, UNKNOWN = "today", "stale", "unknown"

Figure = tuple[str, ...]  # group, case and, where there are several, variant


@dataclass(frozen=True)
class Data:
    """Where the data lie that the studies measure on."""

    folder: Path

    @property
    def synthetic(self) -> Path:
        """What `test-subjects` wrote."""
        return self.folder / "subjects"

    @property
    def raw_heads(self) -> Path:
        """What `raw-heads` wrote."""
        return self.folder / "raw_heads"

    @property
    def newborns(self) -> Path:
        """Real newborns with manual labels."""
        return self.folder / "images" / "neonate"

    @property
    def infants(self) -> Path:
        """Real older infants."""
        return self.folder / "images" / "infant"

    @property
    def adult_maps(self) -> Path:
        """Label maps of adults."""
        return self.folder / "labelmaps" / "adult"

    @property
    def phases(self) -> Path:
        """Gets the subjects in other phases."""
        return self.folder / "phases"

    def pack(self, name: str) -> Path:
        """What training made of the label maps: `labelmaps` or `heads`."""
        return self.folder / f"{name}.npz"

    @property
    def ablations(self) -> Path:
        """Gets the trained variants."""
        return self.folder / "ablations"


@dataclass(frozen=True)
class Key:
    """What a figure is measured with; of the code None says that nobody knows."""

    weights: dict[str, str] = field(default_factory=dict)
    configuration: dict[str, Any] = field(default_factory=dict)
    code: str | None = None

    def differences(self, today: "Key") -> list[str]:
        """In words: what is known to be another than today's."""
        found = [f"{name} weights" for name, digest in today.weights.items() if self.weights.get(name, digest) != digest]
        known = self.configuration
        found += [f"configuration ({name})" for name, value in today.configuration.items() if known.get(name, value) != value]
        return found + (["code"] if self.code not in (None, today.code) else [])

    def unknown(self, today: "Key") -> list[str]:
        """In words: what the key does not say."""
        parts = {
            "code": self.code is None,
            "configuration": today.configuration.keys() - self.configuration.keys(),
            "weights": today.weights.keys() - self.weights.keys(),
        }
        return [name for name, missing in parts.items() if missing]


def plain(values: Any) -> Any:
    """As JSON gives it back."""
    return json.loads(json.dumps(values))


def bundled_weights(*stages: str) -> dict[str, str]:
    """The sha256 of bundled weights, as their manifest says; reading such a file checks it."""
    manifest = json.loads((LIBRARY / "weights" / "manifest.json").read_text(encoding="utf-8"))
    return {stage: manifest[f"{stage}.pt"]["sha256"] for stage in stages}


@cache
def code_of(packages: tuple[str, ...], *benchmarks: str) -> str:
    """A digest of all source files of packages of the library, and of files beside this one."""
    digest = hashlib.sha256()
    files = [path for package in packages for path in sorted((LIBRARY / package).rglob("*.py"))]
    for path in [*files, *(Path(__file__).parent / f"{name}.py" for name in benchmarks)]:
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\n" + path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()[:16]


class Study:
    """The stored figures of one study.

    Parameters
    ----------
    name : str
        Of its JSON file, of its place in docs/results.md, and of its command.
    key : callable
        Gives the key that a figure has today.
    tables : callable
        Makes of the stored results what stands in docs/results.md.
    path : Path, optional
        Of the JSON file.
    """

    def __init__(self, name: str, key: Callable[[Figure], Key], tables: Callable[[dict], str], path: Path | None = None):
        self.name, self.key, self._tables = name, key, tables
        self.path = path or RESULTS / f"{name}.json"
        self.results: dict = json.loads(self.path.read_text(encoding="utf-8")) if self.path.is_file() else {}
        self.results = {"keys": {}, "made_with": {}, **self.results}

    def figures(self) -> list[Figure]:
        """All that are stored."""
        return [tuple(name.split(" / ")) for name in self.results["made_with"]]

    def key_stored(self, figure: Figure) -> Key:
        """What a stored figure was measured with."""
        return Key(**self.results["keys"][self.results["made_with"][" / ".join(figure)]])

    def state(self, figure: Figure) -> str:
        """TODAY, STALE, or UNKNOWN where nothing is known to differ but not all is known."""
        stored, today = self.key_stored(figure), self.key(figure)
        return STALE if stored.differences(today) else UNKNOWN if stored.unknown(today) else TODAY

    def put(self, figure: Figure, value: Any) -> None:
        """Store a figure with today's key; the file is written."""
        key = plain(asdict(self.key(figure)))
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:8]
        place = self.results
        for part in figure[:-1]:
            place = place.setdefault(part, {})
        place[figure[-1]] = value
        made_with = self.results["made_with"]
        made_with[" / ".join(figure)] = name
        self.results["keys"][name] = key
        self.results["keys"] = {name: key for name, key in self.results["keys"].items() if name in made_with.values()}
        self.path.parent.mkdir(exist_ok=True)
        write_text(json.dumps(self.results, indent=1) + "\n", self.path)

    def run(self, jobs: Iterable[tuple[Figure, Callable[[], Any]]], again: bool = False, report: Callable[[str], None] = print) -> None:
        """Measure what is missing or stale; what cannot be known to be stale only `again`."""
        stored = set(self.figures())
        keep = (TODAY,) if again else (TODAY, UNKNOWN)
        for figure, measure in jobs:
            if figure in stored and self.state(figure) in keep:
                continue
            value = measure()
            self.put(figure, value)
            report(f"{' / '.join(figure)}: {json.dumps(value)[:300]}")

    def line(self) -> str:
        """What is to be known of the figures' age: it stands below each table."""
        figures = self.figures()
        states = {figure: self.state(figure) for figure in figures}
        stale, unknown = ([figure for figure, state in states.items() if state == wanted] for wanted in (STALE, UNKNOWN))
        said = []
        if stale:
            reasons = sorted({reason for figure in stale for reason in self.key_stored(figure).differences(self.key(figure))})
            said.append(f"**Stale**: {len(stale)} of {len(figures)} figures were measured with other {', '.join(reasons)} than today's.")
        if unknown:
            parts = dict.fromkeys(part for figure in unknown for part in self.key_stored(figure).unknown(self.key(figure)))
            said.append(f"{len(unknown)} of {len(figures)} figures are of unknown {' and '.join(parts)}: stored before that was recorded.")
        return " ".join(said or [f"All {len(figures)} figures were measured with today's weights, configuration and code."])

    def text(self) -> str:
        """Tables and `line`."""
        return f"{self._tables(self.results).rstrip()}\n\n{self.line()}"


def placed(page: str, name: str, text: str) -> str:
    """A page with new text between the markers of this name.

    Raises
    ------
    ValueError
        If the page has no such markers.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    head, found, rest = page.partition(begin)
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"The page has no {begin} followed by {end}; wanted both.")
    return f"{head}{begin}\n{text}\n{end}{tail}"
