"""How large a brain is at which age, and how much gray matter it has for its white matter.

The curve: 341 ml at birth, the mean of both sexes, and 64 % more after 90 days (Holland et al., JAMA Neurology 71:1266, 2014); from the
first month to one year 101 % more, in the second year 15 % more (Knickmeyer et al., Journal of Neuroscience 28:12176, 2008).
The range round it is ours and wide: a mask also holds CSF, may hold or lack the cerebellum, and both series are of healthy children.
Gray to white matter: 29 six-month-olds, 13 of one scanner and 16 of three others, labelled by a network trained on experts' labels.
"""

import numpy as np

_AGES_MONTHS = (0.0, 3.0, 12.0, 24.0)
_BRAIN_ML = (341.0, 559.0, 824.0, 947.0)  # at one year 2.01 times the 410 ml or so of three weeks
MIN_AGE_MONTHS, MAX_AGE_MONTHS = _AGES_MONTHS[0], _AGES_MONTHS[-1]
LOW_SHARE, HIGH_SHARE = 0.6, 1.9  # of the curve; the newborns and infants checked have 0.9 to 1.7
GRAY_TO_WHITE_AGES_MONTHS = (5.0, 8.0)  # round six months, where blades of white matter are lost for want of contrast
GRAY_TO_WHITE = (1.39, 1.68)  # of the cerebrum; lowest and highest of the 29


def typical_brain_ml(age_months: float) -> float:
    """Give the volume of a typical brain, cerebellum and brainstem with it and CSF without.

    Parameters
    ----------
    age_months : from birth at term, 0 to 24
    """
    return float(np.interp(age_months, _AGES_MONTHS, _BRAIN_ML))


def brain_range_ml(age_months: float) -> tuple[float, float]:
    """Give the volumes that a brain with its CSF plausibly has.

    Parameters
    ----------
    age_months : from birth at term, 0 to 24

    Returns
    -------
    lowest and highest plausible volume in ml
    """
    typical_ml = typical_brain_ml(age_months)
    return LOW_SHARE * typical_ml, HIGH_SHARE * typical_ml


def gray_to_white_range(age_months: float | None) -> tuple[float, float] | None:
    """Give the ratios of gray to white matter that real cerebra of an age have, or None where it is not known.

    Parameters
    ----------
    age_months : from birth at term, or None

    Returns
    -------
    lowest and highest ratio, or None
    """
    if age_months is None or not GRAY_TO_WHITE_AGES_MONTHS[0] <= age_months <= GRAY_TO_WHITE_AGES_MONTHS[1]:
        return None
    return GRAY_TO_WHITE
