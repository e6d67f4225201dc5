"""The networks that weights are shipped of."""

from vnlsdenoise.learned.network import Dimensions

# Maps at half the size of luma cost the most, since memory traffic is the bound: few channels and few blocks there.
SIZES = {
    "small": Dimensions(channels=(48, 96, 128), encoder=1, cell=(1, 1, 4), decoder=2),
    "base": Dimensions(channels=(96, 160, 224), encoder=3, cell=(1, 1, 4), decoder=3),
}
