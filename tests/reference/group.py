"""The two group filters and the aggregation, one group at a time, in float64, from their formulas."""

import math

import torch
from torch import Tensor


def dct_matrix(n: int) -> Tensor:
    k, x = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)
    matrix = torch.cos(math.pi * (x + 0.5) * k / n) * math.sqrt(2 / n)
    matrix[0] /= math.sqrt(2)
    return matrix


def dct(mean: Tensor, p: int) -> Tensor:
    d = dct_matrix(p)
    return d @ mean.reshape(p, p) @ d.T


def inverse_dct(spectrum: Tensor, p: int) -> Tensor:
    d = dct_matrix(p)
    return (d.T @ spectrum @ d).reshape(-1)


def channel_sets(channels: int) -> list[list[int]]:
    return [[0]] if channels == 1 else [[0], [1, 2]]


def shrink(noisy: Tensor, p: int, sigma: float, mean_threshold: float) -> tuple[Tensor, Tensor]:
    """noisy [C, K, d] -> (estimate [C, K, d], weight [C])."""
    channels, K, d = noisy.shape
    mean = noisy.mean(1, keepdim=True)
    centred = noisy - mean
    estimate = torch.zeros_like(noisy)
    identity = torch.eye(K, dtype=torch.float64)
    for members in channel_sets(channels):
        dimension = len(members) * d
        n, b = max(K - 1, dimension), min(K - 1, dimension) / max(K - 1, dimension)
        edge = (1 + math.sqrt(b)) ** 2
        gram = sum(centred[c] @ centred[c].T for c in members)
        variance = float(torch.trace(gram)) / ((K - 1) * dimension * sigma**2)
        a, delta = (1 + b) / edge, 1.25
        gram = gram / (1.05 - 0.15 / max(variance, 1) if members == [0] else 1.1)
        h = delta * torch.linalg.inv(gram / (n * sigma**2 * edge) + delta * identity)
        v = identity - h
        for _ in range(4):
            v = 3 * v @ v - 2 * v @ v @ v
        gain = v - (a / delta) * v @ h
        for c in members:
            estimate[c] = gain @ centred[c]
    for c in range(channels):
        spectrum = dct(mean[c, 0], p)
        keep = spectrum.abs() > mean_threshold * sigma / math.sqrt(K)
        keep[0, 0] = True
        estimate[c] += inverse_dct(spectrum * keep, p)
    return estimate, torch.ones(channels, dtype=torch.float64)


def _content(centred: Tensor, mean: Tensor, p: int, bias: float) -> float:
    """Variance about the group's mean, and the mean's own."""
    signal = (dct(mean, p) ** 2 - bias).clamp_min(0)
    signal[0, 0] = 0
    return float((centred**2).mean() + signal.mean())


def _noisy_share(difference: Tensor, left: Tensor, right: Tensor, content: float, s2: float) -> float:
    """What of the noisy group goes back into its estimate: as much as the estimate seems to have lost."""
    K, samples = len(difference), difference.numel()
    noise = 1 - 1 / K + float((left**2).sum() * (right**2).sum() - 2 * torch.trace(left) * torch.trace(right)) / samples
    lost = float((difference**2).mean()) / s2 - noise - 0.5 * math.sqrt(2 / samples)
    return max(lost, 0) / (max(lost, 0) + 1) * content / (content + s2)


def wiener(
    noisy: Tensor, basic: Tensor, p: int, sigma: float, tau: float = 1.0, flat: float = 0.3, mean_bias: float = 0.5
) -> tuple[Tensor, Tensor]:
    """noisy, basic [C, K, d] -> (estimate [C, K, d], weight [C])."""
    channels, K, _ = noisy.shape
    mean, basic_mean = noisy.mean(1, keepdim=True), basic.mean(1, keepdim=True)
    y, b = noisy - mean, basic - basic_mean
    s2 = sigma**2
    identity = torch.eye(K, dtype=torch.float64)
    estimate, weight = torch.zeros_like(noisy), torch.zeros(channels, dtype=torch.float64)
    left = identity
    content = sum(_content(b[c], basic_mean[c, 0], p, mean_bias * s2 / K) for c in range(channels)) / channels
    tau = tau * (content / s2 + 1) / (content / s2 + 2)
    for members in channel_sets(channels):
        gram = sum(b[c] @ b[c].T for c in members) / K
        factor = torch.linalg.cholesky(gram + tau * s2 * identity)
        white = {c: torch.linalg.solve(factor, b[c]) / math.sqrt(K) for c in members}
        u = sum(white[c] @ white[c].T for c in members)
        h = identity - u
        w = 1.9 * u @ h
        q = (identity + w) @ (identity + w @ w)
        polynomial = (u + 0.1 * h) @ q
        r = u @ polynomial
        if members == [0]:
            rho = (torch.trace(r) / K + 1e-3) * s2
            left = gram @ torch.linalg.inv(gram + rho * identity)
        cross = sum(y[c] @ white[c].T for c in members) @ polynomial
        for c in members:
            estimate[c] = left @ cross @ white[c]
            weight[c] = (r**2).sum()
        if members == [0]:
            share = _noisy_share(y[0] - estimate[0], left, r, content, s2)
            estimate[0] += share * (y[0] - estimate[0])
    spectra = []
    for c in range(channels):
        noisy_spectrum, basic_spectrum = dct(mean[c, 0], p), dct(basic_mean[c, 0], p)
        signal = (basic_spectrum**2 - mean_bias * s2 / K).clamp_min(0)
        gain = signal / (signal + s2 / K)
        gain[0, 0] = 1
        weight[c] = 1 / (1 + weight[c] + (gain**2).sum() / K)
        spectra.append((noisy_spectrum * gain, basic_spectrum[0, 0]))
    trust = content / (content + flat * s2)
    for c, (spectrum, basic_dc) in enumerate(spectra):
        spectrum[0, 0] = basic_dc + trust * (spectrum[0, 0] - basic_dc)
        estimate[c] += inverse_dct(spectrum, p)
    return estimate, weight


def gather(frames: list[Tensor], query: tuple[int, int], offsets: Tensor, frame: int, p: int) -> Tensor:
    """-> [C, K, d]"""
    patches = []
    for dt, dy, dx in offsets.tolist():
        y, x = query[0] + dy, query[1] + dx
        patches.append(frames[frame + dt].double()[:, y : y + p, x : x + p].reshape(frames[0].shape[0], -1))
    return torch.stack(patches, 1)


def filtered(frames: list[Tensor], queries: Tensor, offsets: Tensor, frame: int, p: int, filter_group) -> list[Tensor]:  # type: ignore[no-untyped-def]
    """Filter and aggregate every group: weighted mean of all estimates, the noisy sample where there is none.

    filter_group(query, offsets) -> (estimate [C, K, d], weight [C]).
    """
    total = [torch.zeros_like(f, dtype=torch.float64) for f in frames]
    weights = [torch.zeros_like(f, dtype=torch.float64) for f in frames]
    channels = frames[0].shape[0]
    for query, group in zip(queries.tolist(), offsets, strict=True):
        estimate, weight = filter_group(tuple(query), group)
        for k, (dt, dy, dx) in enumerate(group.tolist()):
            y, x, t = query[0] + dy, query[1] + dx, frame + dt
            total[t][:, y : y + p, x : x + p] += weight[:, None, None] * estimate[:, k].reshape(channels, p, p)
            weights[t][:, y : y + p, x : x + p] += weight[:, None, None]
    return [
        torch.where(w > 0, s / w.clamp_min(1e-30), f.double()) for s, w, f in zip(total, weights, frames, strict=True)
    ]
