"""Recurrences whose backpropagation through time leaves dL/dh_t behind, for every t.

Each recurrence is one file, with a kernel (its own forward and backward loop) and a `Tape`, the backward recurrence
alone. `reference` has the same equations written out step by step for plain autograd; the tests hold one against the
other. `stack` makes modules of them: layers, directions, lengths, dropout, initial states.

Axes: ``model`` (K independent sets of weights; absent for one), ``time``, ``batch``, ``features``.
"""
