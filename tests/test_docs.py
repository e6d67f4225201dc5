"""The programs of the documentation run as they stand."""

import pathlib
import re
from typing import Any

import torch

from vnlsdenoise import nn, ops
from vnlsdenoise.classic.denoiser import level_sizes, support_of
from vnlsdenoise.classic.presets import PRESETS

ROOT = pathlib.Path(__file__).resolve().parent.parent


def program(path: pathlib.Path, start: str) -> str:
    """The indented block of a page that contains `start`, unindented."""
    blocks = [[]]
    for line in path.read_text().splitlines():
        if line.startswith("    ") or (not line and blocks[-1]):
            blocks[-1].append(line[4:])
        elif blocks[-1]:
            blocks.append([])
    found = ["\n".join(block) for block in blocks if any(start in line for line in block)]
    assert len(found) == 1, f"{path.name} has {len(found)} blocks with {start!r}"
    return found[0]


def run(start: str) -> dict[str, Any]:
    """What a program of the page for users of stnls leaves behind."""
    names: dict[str, Any] = {}
    exec(program(ROOT / "docs" / "coming-from-stnls.md", start), names)
    return names


def test_search_as_module_and_function():
    names = run("search = nn.NonLocalSearch")
    dists, offsets = names["dists"], names["offsets"]
    assert dists.shape == (1, 2, 3, 12, 16, 10) and offsets.shape == (*dists.shape, 3)
    assert torch.equal(dists, names["same"][0]) and torch.equal(offsets, names["same"][1])
    gain = (dists - names["finer"][0]) / dists  # the known neighbours are among the candidates
    assert float(gain.min()) > -1e-4 and float(gain.mean()) > 0.01


def test_search_and_weighted_sum():
    names = run("attend = nn.NonLocalSearch")
    assert names["out"].shape == (1, 5, 16, 128, 128)
    assert bool(names["out"].isfinite().all())
    module = nn.NonLocalAttention(embed_dim=8, nheads=2, ws=5, wt=2, ps=3, k=10, stride1=0.5)
    page = " ".join((ROOT / "docs" / "coming-from-stnls.md").read_text().split())
    assert "nn.NonLocalAttention(embed_dim=8, nheads=2, ws=5, wt=2, ps=3, k=10, stride1=0.5)" in page
    # With identities for its convolutions the module is the program.
    with torch.no_grad():
        for layer in (module.qkv.to_q, module.qkv.to_k, module.qkv.to_v, module.proj):
            layer.weight.copy_(torch.eye(16)[:, :, None, None])
            layer.bias.zero_()
        q, flows = names["q"][:, :3, :, :24, :24], names["flows"][:, :3, :2, :, :24, :24]
        dists, offsets = ops.nonlocal_search(q, q, flows, ws=5, wt=1, ps=3, k=10, nheads=2, stride1=0.5)
        weights = ops.normalise_distances(dists)
        expected = ops.weighted_patch_sum(q, weights, offsets, ps=3, stride0=1, merge_heads=True)
        torch.testing.assert_close(module(q, flows), expected, rtol=1e-4, atol=1e-4)


def test_non_local_means_restores():
    y, x = torch.meshgrid(torch.arange(40) / 6, torch.arange(48) / 9, indexing="ij")
    clean = torch.stack([0.5 + 0.2 * (torch.sin(y + t / 4) + torch.cos(x * c)) for t in range(3) for c in (1, 2, 3)])
    clean = clean.unflatten(0, (1, 3, 3))
    noisy = clean + 0.1 * torch.randn(clean.shape)
    restored = run("def non_local_means")["non_local_means"](noisy)
    assert restored.shape == clean.shape
    assert float((restored - clean).square().mean()) < 0.2 * float((noisy - clean).square().mean())


def test_loop_over_patches_has_the_bytes_of_one_call():
    apply = run("def apply_to_patches")["apply_to_patches"]
    video = torch.randn(3, 2, 20, 24)
    torch.testing.assert_close(apply(lambda patches: patches, video), video)
    one = apply(torch.tanh, video, batch=10**6)
    for batch in (1, 100, 359):
        assert torch.equal(apply(torch.tanh, video, batch=batch), one)


def test_weighted_filter_as_a_layer():
    names = run("predict = torch.nn.Conv2d")
    images, kernels = names["images"], names["kernels"]
    patches = torch.nn.functional.unfold(images, 5, padding=2).view(2, 3, 25, 32, 40)
    torch.testing.assert_close(names["gathered"], (patches * kernels[:, None]).sum(2))
    spread = (images[:, :, None] * kernels[:, None]).flatten(3).flatten(1, 2)
    torch.testing.assert_close(names["splatted"], torch.nn.functional.fold(spread, (32, 40), 5, padding=2))
    (names["gathered"] + names["splatted"]).sum().backward()
    assert names["predict"].weight.grad is not None and bool(names["predict"].weight.grad.any())


def test_lists_as_a_graph():
    names = run("scatter_labels")
    lists, nearest = names["lists"], names["nearest"]
    assert torch.equal(names["returned"], names["dists"])
    assert torch.equal(nearest.flatten(2, 4), lists.sort(-1).values[..., :2])
    # The way back from a pixel leads to a query of its grid.
    at = torch.stack(torch.meshgrid(*map(torch.arange, (3, 24, 32)), indexing="ij"), -1)[:, :, :, None]
    query = (at + names["back"])[nearest.isfinite()]
    assert not (query[:, 1:] % 2).any() and bool(query.min() >= 0)


def test_catalogue_names_every_operator_and_its_test():
    named = []
    for line in (ROOT / "docs" / "operators.md").read_text().splitlines():
        names = re.findall(r"`((?:ops|nn)\.\w+)`", line) if line.startswith("|") else []
        tests = "".join((ROOT / path).read_text() for path in re.findall(r"tests/\S+\.py", line))
        for name in names:
            # Some tests import the function itself; those of a reference do not count.
            called = name.replace("ops.", r"(\bops\.|(?<![.\w]))")
            assert re.search(rf"{called}\(", tests), f"the tests of {name} do not call it"
        named += names
    public = [f"ops.{name}" for name in ops.__all__] + [f"nn.{name}" for name in nn.__all__]
    assert sorted(named) == sorted(public)


def test_operators_of_the_page_on_python():
    names: dict[str, torch.Tensor] = {}
    names["fflow"], names["bflow"] = torch.randn(2, 1, 5, 2, 32, 40).unbind(0)
    names["queries"], names["keys"], names["values"] = torch.randn(3, 1, 5, 8, 32, 40).unbind(0)
    exec(program(ROOT / "docs" / "python.md", "search = nn.NonLocalSearch"), names)
    assert names["dists"].shape == (1, 2, 5, 8, 10, 10)
    assert names["out"].shape == (1, 2, 5, 4, 32, 40)


def test_the_denoiser_of_the_page_on_python_learns():
    """Noise over a texture that moves by a pixel a frame: a few steps lower the loss on what was not trained on."""
    names: dict[str, Any] = {}
    exec(program(ROOT / "docs" / "python.md", "class Denoiser"), names)
    network = names["Denoiser"]()
    flow = torch.zeros(1, 2, 2, 24, 24)
    flow[:, :, 0] = 1  # what is here was one pixel to the right before

    def clip(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        random = torch.Generator().manual_seed(seed)
        texture = torch.nn.functional.avg_pool2d(torch.randn(1, 28, 32, generator=random), 5, 1)
        clean = torch.stack([texture[:, :, t : t + 24] for t in range(3)])[None]
        return clean, clean + 0.3 * torch.randn(clean.shape, generator=random)

    def loss(seed: int) -> torch.Tensor:
        clean, noisy = clip(seed)
        return (network(noisy, flow) - clean).square().mean()

    with torch.no_grad():
        before = float(loss(0))
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    for step in range(1, 41):
        optimiser.zero_grad()
        loss(step).backward()
        optimiser.step()
    assert all(p.grad is not None and bool(p.grad.any()) for p in network.parameters())
    assert float(loss(0).detach()) < 0.3 * before


def test_programs_for_tensors():
    names: dict[str, Any] = {}
    small = "video = torch.rand(3, 3, 24, 32)"
    for page in (ROOT / "README.md", ROOT / "docs" / "python.md"):
        names.clear()
        exec(re.sub(r"video = torch.rand\(.*?\)", small, program(page, "import torch, vnlsdenoise")), names)
        assert names["clean"].shape == (3, 3, 24, 32)
    exec(program(ROOT / "docs" / "python.md", "curve = PlaneNoise"), names)
    assert names["clean"].shape == (4, 1, 48, 64) and names["measured"].sigma == (0.05,)


def test_every_exit_code_names_the_tests_that_prove_it():
    rows = [line for line in (ROOT / "docs" / "jobs.md").read_text().splitlines() if re.match(r"\| \d", line)]
    named = [re.findall(r"`(tests/\S+\.py)::(\w+)`", row) for row in rows]
    assert len(rows) == 12 and all(named)
    for path, name in (pair for pairs in named for pair in pairs):
        assert f"def {name}(" in (ROOT / path).read_text(), f"{path} has no {name}"


def test_the_table_of_support_is_what_the_denoiser_needs():
    rows = re.findall(
        r"^\| (draft|fast|balanced|best) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$",
        (ROOT / "docs" / "jobs.md").read_text(),
        re.M,
    )
    assert len(rows) == 4
    for preset, *support in rows:
        sizes = [level_sizes(PRESETS[preset], side, side, False) for side in (39, 78, 156, 157)]
        assert [support_of(PRESETS[preset], size) for size in sizes] == list(map(int, support))
