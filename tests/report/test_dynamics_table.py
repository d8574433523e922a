from rnnae_bench.report.dynamics_table import table


def test_an_exponent_that_is_not_finite_is_a_dash():
    """As records and reports have it: None, and None for its spread."""
    layer = {
        "layer": "l0",
        "spectral_radius": {},
        "spectral_norm": {},
        "largest_singular_value": None,
        "lyapunov_exponents": {"mean": [-0.5, None], "standard_deviation": [0.25, None]},
        "gates": {},
        "gate_time_constant": {},
        "mode_time_constant": None,
        "gradient_norm": {},
    }
    assert [row[1] for row in table([layer])[1:]] == ["-0.5 ± 0.25", "-"]
