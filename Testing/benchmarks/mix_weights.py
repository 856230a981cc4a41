"""Mix the tissue networks of two trainings from one start, and let FCN-2 choose white matter a little sooner.

    python -m Testing.benchmarks mix-weights FIRST SECOND OUT [--share 0.5] [--wm-bias 0.25] [--newborn-wm-bias 0.5]

Each weight becomes FIRST's times (1 - share) and SECOND's times share (Wortsman et al., CVPR 2022: Robust fine-tuning of zero-shot models).
The bias is added to the logit of white matter in FCN-2's last classifier; a newborn's is kept beside the weights and added where a brain
has a newborn's contrast. The training record is FIRST's, and says what was mixed.
"""

import argparse
from pathlib import Path

from InfantBrainSegLib.core.labels import WM
from InfantBrainSegLib.networks.weights import LoadedNetwork, load_network, save_weights

STAGES = ("fcn1", "fcn2")


def mixed(first: LoadedNetwork, second: LoadedNetwork, share: float, wm_bias: float) -> LoadedNetwork:
    """Mix two networks of one shape; gives the first one, changed.

    Raises
    ------
    ValueError
        If they are of another shape, or see another context.
    """
    if (first.network.config, first.context) != (second.network.config, second.context):
        raise ValueError(f"the {first.stage} of both are of another shape or see another context; wanted two trainings of one network")
    theirs = second.network.state_dict()
    state = {name: own.lerp(theirs[name], share) if own.is_floating_point() else own for name, own in first.network.state_dict().items()}
    if first.stage == "fcn2":
        last = max(name for name in state if name.startswith("classifiers.") and name.endswith(".bias"))
        state[last][WM.value] += wm_bias
    first.network.load_state_dict(state)
    mixture = {"sha256": second.sha256, "share": share} | ({"wm_bias": wm_bias} if first.stage == "fcn2" else {})
    earlier = {"earlier": first.training["mixed_with"]} if "mixed_with" in first.training else {}
    first.training["mixed_with"] = mixture | earlier
    return first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("first", "second", "output_dir"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--share", type=float, default=0.5, help="of the second, 0 to 1 (default: %(default)s)")
    parser.add_argument("--wm-bias", type=float, default=0.25, help="added to white matter's logit (default: %(default)s)")
    parser.add_argument("--newborn-wm-bias", type=float, default=0.5, help="added to it in a newborn's contrast (default: %(default)s)")
    arguments = parser.parse_args()
    for stage in STAGES:
        first, second = (load_network(stage, folder) for folder in (arguments.first, arguments.second))
        try:
            both = mixed(first, second, arguments.share, arguments.wm_bias)
        except ValueError as error:
            parser.error(str(error))
        newborn_wm_bias = arguments.newborn_wm_bias if stage == "fcn2" else 0.0
        save_weights(both.network, stage, both.meta | {"newborn_wm_bias": newborn_wm_bias}, arguments.output_dir / f"{stage}.pt")
