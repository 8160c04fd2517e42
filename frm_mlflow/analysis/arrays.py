"""Names for the array types that all of the analyses share."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]
Integers: TypeAlias = NDArray[np.integer[Any]]
Words: TypeAlias = NDArray[np.object_]
Signs: TypeAlias = NDArray[np.float32]
"""Small whole numbers in single precision, where matrix products are fastest and still exact."""
