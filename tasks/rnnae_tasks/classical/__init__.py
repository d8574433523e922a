"""Classical answers that several tasks have for their baselines: fitted in closed form or to a convex optimum."""
