"""Recurrences whose backpropagation through time leaves dL/dh_t behind, for every t.

Each recurrence is one file: a kernel (its own forward and backward loop), a `Tape`, the backward recurrence alone, and
a module over `stack`, which has what all share: layers, directions, lengths, dropout, initial states. `reference` has
the same equations written out step by step for plain autograd; the tests hold one against the other.

Axes: ``model`` (K independent sets of weights; absent for one), ``time``, ``batch``, ``features``.
"""
