import pytest
import torch
from benchmarks.patch_database import patch_database_search

from vnlsdenoise import ops


@pytest.mark.parametrize("options", [{"ps": 3}, {"ps": 1, "nheads": 2, "stride0": 2}, {"ps": 4, "ws": 4}], ids=str)
def test_the_peer_finds_what_the_search_finds(device, options):
    vid0, vid1 = (torch.randn(1, 4, 4, 11, 13, dtype=torch.float64, device=device) for _ in range(2))
    rows, columns = (11, 13) if options.get("stride0", 1) == 1 else (6, 7)
    flows = 6 * torch.randn(1, 4, 2, 2, rows, columns, dtype=torch.float64, device=device)
    options = {"ws": 5, "wt": 1, "k": 6, "itype": "int", **options}
    distances, offsets = ops.nonlocal_search(vid0, vid1, flows, **options)
    found = patch_database_search(vid0, vid1, flows, **options)
    torch.testing.assert_close(found[0], distances)
    assert torch.equal(found[1], offsets)


def test_only_whole_positions():
    video = torch.zeros(1, 1, 1, 4, 4)
    with pytest.raises(ValueError, match="itype must be 'int', got 'float'"):
        patch_database_search(video, video, video, ws=3, wt=0, ps=1, k=1, itype="float")
