"""The number format of a training: float32, or bfloat16 for states and products.

Some processors multiply matrices of bfloat16 at twice the speed, and add up the products in
float32; on others torch does so many times slower than in float32.
"""

import functools

import torch

from charrnn.config import Precision, TrainingConfig
from charrnn.errors import OptionError


def precision_for(config: TrainingConfig) -> Precision:
    """Returns the number format of a training, "fp32" or "bf16"; "auto" is float32.

    Two seeds learnt a little less in bfloat16: see tests/bench/README.md.

    Raises:
        OptionError: bf16 is asked for, and the processor that is to train does not have it.
    """
    if lacks_bfloat16(config):
        raise OptionError(
            "--precision: this processor has no bfloat16 products (AVX512-BF16 or AMX), and bf16 "
            "would be many times slower: use auto or fp32"
        )
    return "bf16" if config.precision == "bf16" else "fp32"


def lacks_bfloat16(config: TrainingConfig) -> bool:
    """Returns whether bf16 is asked for, and the processor that is to train does not have it."""
    return config.precision == "bf16" and config.device == "cpu" and not has_bfloat16()


@functools.cache
def has_bfloat16() -> bool:
    """Returns whether the processor multiplies bfloat16, and torch lets it, by oneDNN."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if hasattr(torch.cpu, "get_capabilities"):  # from torch 2.11 on
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))
    asks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in asks)
