"""Medians and how sure of them one can be, without assuming any distribution."""

import math


def median(samples):
    return percentile(samples, 50)


def percentile(samples, p):
    """Between the two nearest ranks, so that the median of an even number is the middle of two."""
    ordered = sorted(samples)
    at = (len(ordered) - 1) * p / 100
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def interval(samples):
    """What the true median is in with at least 95 % confidence, by order statistics: the samples
    below it are binomial, whatever they are samples of. None of fewer than six samples."""
    ordered = sorted(samples)
    n, below, tail = len(ordered), 0, 0.0
    while tail + math.comb(n, below) / 2**n <= 0.025:
        tail += math.comb(n, below) / 2**n
        below += 1
    return (ordered[below - 1], ordered[n - below]) if below else None

