"""Draw mean confidence against true Dice, a dot for each synthetic subject and tissue, as Resources/calibration.svg.

    python -m Testing.benchmarks calibration

Reads the stored figures of `accuracy`.
"""

import json

from InfantBrainSegLib.imaging.files import write_text

from .measure_accuracy import NAMES, WITH
from .study import RESULTS, ROOT

PICTURE = ROOT / "Resources" / "calibration.svg"
COLORS = {"CSF": "#2171b5", "GM": "#636363", "WM": "#cb4b16"}
LOW, HIGH, STEP = 0.5, 1.0, 0.1
LEFT, TOP, SIDE = 60, 20, 340  # pixels


def place(confidence: float, doc: float) -> tuple[float, float]:
    """Pixels of a point; what lies below the axes is drawn on them."""
    across, up = ((max(value, LOW) - LOW) / (HIGH - LOW) * SIDE for value in (confidence, doc))
    return LEFT + across, TOP + SIDE - up


def text(x: float, y: float, content: str, more: str = "") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" {more}>{content}</text>'


def axes() -> list[str]:
    (x0, y0), (x1, y1) = place(LOW, LOW), place(HIGH, HIGH)
    drawn = [
        f'<rect x="{x0}" y="{y1}" width="{SIDE}" height="{SIDE}" fill="white" stroke="#999"/>',
        f'<line x1="{x0}" y1="{y0}" x2="{x1}" y2="{y1}" stroke="#999" stroke-dasharray="4"/>',
        text(LEFT + SIDE / 2, TOP + SIDE + 40, "mean confidence", 'text-anchor="middle"'),
        text(18, TOP + SIDE / 2, "true Dice", f'text-anchor="middle" transform="rotate(-90 18 {TOP + SIDE / 2:.0f})"'),
    ]
    for number in range(round((HIGH - LOW) / STEP) + 1):
        value = LOW + number * STEP
        x, y = place(value, value)
        drawn.append(text(x, TOP + SIDE + 18, f"{value:.1f}", 'text-anchor="middle"'))
        drawn.append(text(LEFT - 8, y + 4, f"{value:.1f}", 'text-anchor="end"'))
    return drawn


def main() -> None:
    subjects = json.loads((RESULTS / "accuracy.json").read_text(encoding="utf-8"))["synthetic"]
    drawn = axes()
    for row, name in enumerate(NAMES):
        for subject, scores in subjects.items():
            x, y = place(scores[WITH][name]["confidence"], scores[WITH][name]["dice"])
            if subject.startswith("adult"):
                drawn.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{COLORS[name]}"/>')
            else:
                drawn.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="white" stroke="{COLORS[name]}" stroke-width="1.5"/>')
        drawn.append(text(LEFT + 14, TOP + 24 + 18 * row, name, f'fill="{COLORS[name]}" font-weight="bold"'))
    drawn.append(text(LEFT + 14, TOP + SIDE - 14, "filled: adult maps; open: infant maps"))
    size = f'width="{LEFT + SIDE + 20}" height="{TOP + SIDE + 55}"'
    body = "\n".join(drawn)
    write_text(f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">\n{body}\n</svg>\n', PICTURE)
