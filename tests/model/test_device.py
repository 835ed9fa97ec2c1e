"""Where torch computes."""

import pytest
import torch

from charrnn.errors import OptionError
from charrnn.model.device import find_device


def test_a_device_that_is_not_there_is_named() -> None:
    assert find_device("cpu") == torch.device("cpu")
    with pytest.raises(OptionError, match="--device: 'abacus'"):
        find_device("abacus")
