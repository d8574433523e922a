"""The dynamical systems: their equations, where they start, and how they are integrated.

All are integrated by the classical Runge-Kutta method of fourth order at a fixed step, many trajectories side by side,
in double precision. NumPy, since what passes through a step is small.
"""

import math
from abc import ABC, abstractmethod

import numpy as np
from jaxtyping import Float
from numpy import ndarray


class System(ABC):
    """A system whose trajectories are sampled at a fixed spacing."""

    coordinates: tuple[str, ...]
    """What is observed, by name."""
    spacing: float
    """Time between two samples, in the system's own unit."""
    substeps: int
    """Integration steps between two samples."""
    time_unit: float
    """What valid times are told in, in the system's own unit: the Lyapunov time where there is one."""
    drawn: int
    """How many uniform numbers choose a trajectory."""

    @abstractmethod
    def trajectories(self, chance: Float[ndarray, "rows drawn"], samples: int) -> Float[ndarray, "rows samples values"]:
        """Sampled trajectories.

        Args:
            chance: Numbers in [0, 1) that choose each of them.
            samples: Length of each.
        """


class Flow(System):
    """An ordinary differential equation ``dx/dt = velocity(x)``."""

    transient: float = 0.0
    """Time that passes before the first sample, so that it lies on the attractor."""

    @abstractmethod
    def velocity(self, state: ndarray) -> ndarray:
        """The right-hand side of states ``[values rows]``, coordinate by coordinate."""

    @abstractmethod
    def start(self, chance: Float[ndarray, "rows drawn"]) -> Float[ndarray, "values rows"]:
        """The states at which trajectories begin."""

    def following(self, state: ndarray) -> ndarray:
        """The states ``[values rows]`` one sample later."""
        h = self.spacing / self.substeps
        for _ in range(self.substeps):
            k1 = self.velocity(state)
            k2 = self.velocity(state + h / 2 * k1)
            k3 = self.velocity(state + h / 2 * k2)
            k4 = self.velocity(state + h * k3)
            state = state + h / 6 * (k1 + 2 * (k2 + k3) + k4)
        return state

    def continued(self, state: Float[ndarray, "values rows"], samples: int) -> Float[ndarray, "rows samples values"]:
        """The states of the next samples, without the one that is given."""
        states = np.empty((samples, *state.shape))
        for sample in range(samples):
            states[sample] = state = self.following(state)
        return states.transpose(2, 0, 1)

    def trajectories(self, chance: Float[ndarray, "rows drawn"], samples: int) -> Float[ndarray, "rows samples values"]:
        """Sampled trajectories, from after the transient on."""
        state = self.start(chance)
        for _ in range(round(self.transient / self.spacing)):
            state = self.following(state)
        return self.continued(state, samples)


class Lorenz63(Flow):
    """``x' = 10 (y - x)``, ``y' = x (28 - z) - y``, ``z' = x y - 8/3 z``.

    Source: Lorenz (1963), Deterministic nonperiodic flow, Journal of the Atmospheric Sciences 20(2). Its exponents are
    0.9056, 0 and -14.5723 (Sprott 2003, Chaos and time-series analysis).
    """

    coordinates = ("x", "y", "z")
    spacing, substeps, transient, drawn = 0.02, 4, 10.0, 3
    sigma, rho, beta = 10.0, 28.0, 8 / 3
    exponent = 0.9056
    time_unit = 1 / exponent

    def velocity(self, state: ndarray) -> ndarray:
        """The three equations."""
        x, y, z = state
        return np.stack((self.sigma * (y - x), x * (self.rho - z) - y, x * y - self.beta * z))

    def start(self, chance: Float[ndarray, "rows drawn"]) -> Float[ndarray, "values rows"]:
        """Anywhere in a cube around the attractor; the transient leads onto it."""
        return np.array([[-20.0], [-20.0], [5.0]]) + 40 * chance.T


class Pendulum(Flow):
    """A damped pendulum, ``a'' = -sin(a) - 0.05 a'``, in units of 1 / (its small frequency).

    It begins in any phase of a swing whose amplitude is between 0.5 and 3 radians, and never turns over. Its errors die
    out, both exponents being -0.025 at rest, so valid times are told in periods of a small swing, 2 pi.
    """

    coordinates = ("angle", "velocity")
    spacing, substeps, drawn = 0.1, 2, 3
    damping = 0.05
    time_unit = 2 * math.pi

    def velocity(self, state: ndarray) -> ndarray:
        """Angular velocity and acceleration."""
        angle, speed = state
        return np.stack((speed, -np.sin(angle) - self.damping * speed))

    def start(self, chance: Float[ndarray, "rows drawn"]) -> Float[ndarray, "values rows"]:
        """An amplitude, an angle up to it on either side, and a speed of either sign with the amplitude's energy."""
        amplitude = 0.5 + 2.5 * chance[:, 0]
        angle = amplitude * (2 * chance[:, 1] - 1)
        speed = np.sqrt(np.maximum(2 * (np.cos(angle) - np.cos(amplitude)), 0))
        return np.stack((angle, np.where(chance[:, 2] < 0.5, -speed, speed)))


class MackeyGlass(System):
    """``x'(t) = 0.2 x(t - 17) / (1 + x(t - 17)^10) - 0.1 x(t)``, from a constant history between 0.5 and 1.3.

    The delay is a whole number of integration steps. Where the method looks half a step further, the delayed value is
    that of the cubic through values and derivatives of the two steps beside it, whose error is of the method's order.

    Source: Mackey & Glass (1977), Oscillation and chaos in physiological control systems, Science 197.
    """

    coordinates = ("x",)
    spacing, substeps, drawn = 1.0, 4, 1
    production, decay, delay = 0.2, 0.1, 17.0
    transient = 1000.0
    exponent = 0.0051
    time_unit = 1 / exponent

    def feedback(self, delayed: ndarray) -> ndarray:
        """What the delayed value adds to the derivative."""
        square = delayed * delayed
        fourth = square * square
        # Products and not a power: these are the same to the last bit on every machine.
        return self.production * delayed / (1 + fourth * fourth * square)

    def trajectories(self, chance: Float[ndarray, "rows drawn"], samples: int) -> Float[ndarray, "rows samples values"]:
        """Sampled trajectories, from after the transient on."""
        steps = round((self.transient + samples * self.spacing) * self.substeps / self.spacing)
        values = self.integrated(0.5 + 0.8 * chance[:, 0], steps)
        return values[-1 : -samples * self.substeps : -self.substeps][::-1].T[..., None]

    def integrated(self, history: Float[ndarray, " rows"], steps: int) -> Float[ndarray, "times rows"]:
        """The values from time 0 on at every integration step, after a constant history."""
        h, late = self.spacing / self.substeps, round(self.delay / self.spacing * self.substeps)
        values = np.empty((late + steps + 1, len(history)))
        slopes = np.zeros_like(values)
        values[: late + 1] = history
        # At time 0 the slope jumps: 0 for what comes before, the equation's for what comes after.
        for now in range(late, late + steps):
            x, then = values[now], now - late
            start, end = self.feedback(values[then]), self.feedback(values[then + 1])
            slope = slopes[now] = start - self.decay * x
            after = slopes[then + 1] if then + 1 != late else np.zeros_like(x)
            midway = (values[then] + values[then + 1]) / 2 + h / 8 * (slopes[then] - after)
            half = self.feedback(midway)
            k2 = half - self.decay * (x + h / 2 * slope)
            k3 = half - self.decay * (x + h / 2 * k2)
            k4 = end - self.decay * (x + h * k3)
            values[now + 1] = x + h / 6 * (slope + 2 * (k2 + k3) + k4)
        return values[late:]


SYSTEMS: dict[str, System] = {"lorenz63": Lorenz63(), "pendulum": Pendulum(), "mackey_glass": MackeyGlass()}
"""Every system by its name."""
