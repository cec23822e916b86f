"""What a name that is not known may have meant."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str], *, most: int = 3) -> str:
    """The known names that are most like it, ``a or b``; the first ones if none is.

    >>> nearest("contrst", ["color", "contrast"])
    'contrast or color'
    """
    names = list(known)
    return " or ".join(difflib.get_close_matches(name, names, most, cutoff=0.3) or names[:most])
