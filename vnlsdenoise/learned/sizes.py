"""The networks that weights are shipped of, and the classic presets whose results networks correct."""

from vnlsdenoise.classic.presets import DEFAULT_FLOW, PRESETS
from vnlsdenoise.learned.network import Dimensions

# Maps at half the size of luma cost the most, since memory traffic is the bound: few channels and few blocks there.
# Every size is the one before it, grown (vnlsdenoise/training/growth.py).
SIZES = {
    "small": Dimensions(channels=(48, 96, 128), encoder=1, cell=(1, 1, 4), decoder=2),
    "base": Dimensions(channels=(64, 128, 192), encoder=1, cell=(1, 2, 6), decoder=3),
}
# The classic preset that each corrects: at 1080p a network of this size and the preset take about the same time.
CORRECTED = {"small": "fast", "base": "balanced"}
# Those whose flow is measured as finely as networks follow it.
CORRECTABLE = tuple(name for name, preset in PRESETS.items() if preset.flow == DEFAULT_FLOW)
